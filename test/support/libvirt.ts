/**
 * A libvirt daemon of the test's own, as root, beside one that the machine may have: in a mount namespace where the folders
 * that libvirt uses are others. It ends with the test, and its guests with it.
 */

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { needs, which } from './tools.ts'

/** Whom it looks for when it starts, though its QEMU is to run as root. */
const USER = {
  '/etc/passwd': 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin',
  '/etc/group': 'libvirt-qemu:x:64055:',
}

const FOLDERS = ['/etc/libvirt', '/run', '/var/lib/libvirt', '/var/cache', '/var/log']

/** QEMU runs as root, with nothing around it: no control groups, no namespaces, no log daemon. */
const QEMU_CONF = `
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
`

const START_MS = 90_000

export interface Libvirt {
  /** For LIBVIRT_DEFAULT_URI. */
  uri: string
  virsh(...args: string[]): Promise<string>
  /** What the daemon and QEMU had to say about a domain. */
  domainLog(domain: string): string
  /** The beginning of a command line that runs a program where libvirt's own folders are, such as those of TPMs. */
  inside: readonly string[]
}

/** Options for `test()`. */
export function needsLibvirt(): { skip: string | false } {
  if (process.getuid?.() !== 0 && !process.env.CI) return { skip: 'needs root, for a libvirt of its own' }
  return needs('libvirtd', 'virsh', 'unshare')
}

export async function startLibvirt(t: { after(hook: () => Promise<void>): void }, dir: string): Promise<Libvirt> {
  const own = (folder: string) => join(dir, folder.replaceAll('/', '_'))
  for (const folder of FOLDERS) mkdirSync(own(folder))
  writeFileSync(join(own('/etc/libvirt'), 'qemu.conf'), QEMU_CONF)
  writeFileSync(join(own('/etc/libvirt'), 'libvirtd.conf'), 'auth_unix_rw = "none"\n')
  for (const [file, line] of Object.entries(USER)) {
    writeFileSync(own(file), `${readFileSync(file, 'utf8').replace(/^libvirt-qemu:.*\n/m, '')}${line}\n`)
  }
  const places = [...FOLDERS, ...Object.keys(USER)]
  const mounts = places.map((place) => `mount --bind '${own(place)}' ${place}`)
  // In a process namespace too: where the daemon ends, so do the guests that it left.
  const script = [`mkdir -p ${FOLDERS.join(' ')}`, ...mounts, `'${which('libvirtd')}' --timeout 0`].join(' && ')
  const namespaces = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc']
  // The shell stays, as the namespace's first process: whoever is orphaned there is its child, and waited for.
  const child = spawn('unshare', [...namespaces, 'sh', '-c', `${script}; exit $?`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  const gone = once(child, 'close')
  t.after(async () => {
    child.kill('SIGKILL')
    await gone
  })
  const socket = join(own('/run'), 'libvirt/libvirt-sock')
  const uri = `qemu+unix:///system?socket=${socket}`
  const run = promisify(execFile)
  const virsh = async (...args: string[]) => (await run('virsh', ['-c', uri, ...args], { timeout: START_MS })).stdout
  for (const end = Date.now() + START_MS; ; await sleep(50)) {
    if (existsSync(socket) && (await virsh('version').catch(() => null)) !== null) break
    if (child.exitCode !== null || Date.now() > end) throw new Error(`libvirtd does not start: ${said}`)
  }
  const domainLog = (domain: string) => readFileSync(join(own('/var/log'), `libvirt/qemu/${domain}.log`), 'utf8')
  const inside = ['nsenter', `--target=${firstOf(child.pid!)}`, '--mount', '--pid', '--']
  return { uri, virsh, domainLog, inside }
}

/** The first process of the namespaces that this unshare has made. */
function firstOf(unshare: number): number {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = statOf(name)
    if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === unshare) return Number(name)
  }
  throw new Error('libvirtd has no process')
}

/** Empty if it has ended: processes of other tests come and go. */
function statOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return ''
  }
}
