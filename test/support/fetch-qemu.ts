/**
 * Gets the QEMU of the distribution's backports, into the cache, without installing it over the one that is there:
 *
 *     node test/support/fetch-qemu.ts
 *
 * Needs a Debian with apt-get, and dpkg; its own lists of packages stay as they are. Does nothing where the cache has a QEMU.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { firmwareArgs, NEWER, QEMU_CACHE, type QemuBuild, type QemuProgram, qemuProgram } from './qemu-builds.ts'

/** qemu-utils has the storage daemon. */
const PACKAGES = ['qemu-system-x86', 'qemu-system-data', 'qemu-utils', 'seabios']
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

function fetchQemu(): void {
  mkdirSync(dirname(QEMU_CACHE), { recursive: true })
  const dir = mkdtempSync(`${QEMU_CACHE}-`)
  try {
    const options = aptOptions(dir)
    run('apt-get', ['update', ...options], dir)
    run('apt-get', ['download', ...options, ...PACKAGES], dir)
    for (const deb of globSync('*.deb', { cwd: dir })) run('dpkg', ['-x', deb, 'unpacked'], dir)
    const unpacked = { name: 'the unpacked QEMU', root: join(dir, 'unpacked') }
    for (const program of ['qemu-system-x86_64', 'qemu-storage-daemon'] as const) assertRuns(unpacked, program)
    // By rename, so that nobody finds half a QEMU.
    renameSync(unpacked.root, QEMU_CACHE)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Where the machine gets its own packages, and no more than the backports from there; all that apt keeps is in `dir`. */
function aptOptions(dir: string): string[] {
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  const own = ['Created-By: Packages', `Codename: ${codename}`, 'Component: main']
  const [from] = run('apt-get', ['indextargets', '--format', '$(REPO_URI)', ...own], dir).split('\n')
  if (from === '') throw new Error(`apt has no source of packages for ${codename}; is this a Debian?`)
  const signed = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : ''
  writeFileSync(join(dir, 'sources.list'), `deb ${signed}${from} ${codename}-backports main\n`)
  for (const folder of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(dir, folder), { recursive: true })
  const settings = {
    'Dir::Etc::SourceList': join(dir, 'sources.list'),
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::State::Lists': join(dir, 'lists'),
    'Dir::Cache': join(dir, 'cache'),
    // Root would only be warned that apt cannot give up its rights in this folder.
    'APT::Sandbox::User': 'root',
  }
  return ['-q', ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])]
}

/** The backports are built for the libraries that the distribution has: what is missing comes with its own QEMU. */
function assertRuns(build: QemuBuild, program: QemuProgram): void {
  const missing = run('ldd', [qemuProgram(build, program)], '/').match(/\S+(?= => not found)/g) ?? []
  if (missing.length > 0)
    throw new Error(`${program} needs ${missing.join(', ')}: install qemu-system-x86 and qemu-utils`)
}

function run(program: string, args: readonly string[], cwd: string): string {
  return execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
}

if (NEWER.root === QEMU_CACHE && !existsSync(qemuProgram(NEWER, 'qemu-system-x86_64'))) fetchQemu()
const [version] = run(qemuProgram(NEWER, 'qemu-system-x86_64'), [...firmwareArgs(NEWER), '--version'], '/').split('\n')
console.log(`a newer QEMU for tests: ${version}`)
