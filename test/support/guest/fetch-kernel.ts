/**
 * Gets a kernel for the test guest from the Debian archive, into the cache, without installing it:
 *
 *     node test/support/guest/fetch-kernel.ts
 *
 * Needs apt-get with up-to-date lists, and dpkg. Does nothing where the cache has a kernel.
 */

import { execFileSync } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE, findKernel, KERNEL_CACHE } from './kernel.ts'

/** Small, and virtio is all that it knows. The package names the current version as what it depends on. */
const META_PACKAGE = 'linux-image-cloud-amd64'

function fetchKernel(): void {
  const depends = execFileSync('apt-cache', ['depends', META_PACKAGE], { encoding: 'utf8' })
  const version = /Depends: (linux-image-\S+)/.exec(depends)?.[1]
  if (version === undefined) throw new Error(`apt knows no ${META_PACKAGE}; run apt-get update first`)
  mkdirSync(CACHE, { recursive: true })
  const dir = mkdtempSync(join(CACHE, 'fetch-'))
  try {
    // Root would only be warned that apt cannot give up its rights in this folder.
    const options = ['-q', '-o', 'APT::Sandbox::User=root']
    execFileSync('apt-get', ['download', ...options, version], { cwd: dir, stdio: ['ignore', 'inherit', 'inherit'] })
    execFileSync('dpkg', ['-x', globSync('*.deb', { cwd: dir })[0], 'unpacked'], { cwd: dir })
    // By rename, so that nobody finds half a kernel.
    renameSync(join(dir, 'unpacked'), KERNEL_CACHE)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

if (findKernel(KERNEL_CACHE) === undefined) fetchKernel()
console.log(`kernel for test guests: ${findKernel(KERNEL_CACHE)?.version}`)
