/** A real guest with a real agent: a disk with ext4, a writer on it, and qemu-ga on its virtio port. */

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { findBusybox } from '../../../support/guest/busybox.ts'
import { Console } from '../../../support/guest/console.ts'
import { cpio, type Entry } from '../../../support/guest/cpio.ts'
import { findKernel } from '../../../support/guest/kernel.ts'
import { needsGuest } from '../../../support/guest/machine.ts'
import { loadModules } from '../../../support/guest/modules.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { needs, which } from '../../../support/tools.ts'

const INIT = `#!/bin/busybox sh
PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
exec >/dev/kmsg 2>&1
while read -r module; do insmod "/modules/$module.ko" || echo "FAIL module $module"; done </modules/order
mount -t ext4 -o sync,noatime /dev/vda /mnt || echo "FAIL mount"
for port in /dev/vport*; do /bin/qemu-ga -m virtio-serial -p "$port" -t /run -F/bin/hook & done
echo READY
n=0
while :; do
  n=$((n + 1))
  echo "$n" >/mnt/number
  echo "WROTE $n"
  sleep 0.01
done
`

/** What the agent calls before it freezes, and after it has thawed. */
const HOOK = `#!/bin/sh
echo "HOOK $1" >/dev/kmsg
`

/** Options for `test()`. */
export function needsAgentGuest(): { skip: string | false } {
  const { skip } = needsGuest()
  return skip ? { skip } : needs('qemu-ga')
}

export interface AgentGuest {
  /** The agent's socket. */
  agent: string
  qmp: string
  /** `freeze` and `thaw`, as the guest was told them. */
  readonly told: string[]
  /** How many writes have returned by now. */
  readonly writes: number
  /** Stops the virtual processor, and lets it go on. */
  pause(): void
  resume(): void
}

/** Resolves when the guest writes; it ends with the test. */
export async function startAgentGuest(t: { after(hook: () => void): void }): Promise<AgentGuest> {
  const dir = tmpDir(t)
  const [log, disk, initramfs, agent, qmp] = ['log', 'disk', 'initramfs', 'agent', 'qmp'].map((name) => join(dir, name))
  execFileSync(which('mkfs.ext4')!, ['-q', disk, '16M'])
  writeFileSync(initramfs, buildInitramfs())
  const fd = openSync(log, 'a')
  const args = [
    ...['-accel', 'tcg', '-cpu', 'qemu64', '-m', '256', '-nodefaults', '-display', 'none'],
    ...['-kernel', findKernel()!.vmlinuz, '-initrd', initramfs],
    ...['-append', 'console=ttyS0 panic=-1 nokaslr printk.time=0 printk.devkmsg=on quiet loglevel=6'],
    ...['-chardev', `file,id=log,path=${log},append=on`, '-serial', 'chardev:log'],
    ...['-blockdev', `driver=file,node-name=d,filename=${disk}`, '-device', 'virtio-blk-pci,drive=d,id=disk'],
    ...['-chardev', `socket,id=ga,path=${agent},server=on,wait=off`, '-device', 'virtio-serial-pci'],
    ...['-device', 'virtserialport,chardev=ga,name=org.qemu.guest_agent.0'],
    ...['-qmp', `unix:${qmp},server=on,wait=off`],
  ]
  const qemu = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', fd] })
  closeSync(fd)
  t.after(() => qemu.kill('SIGKILL'))
  await once(qemu, 'spawn')
  const console = new Console(log)
  t.after(() => console.close())
  await console.waitFor('WROTE 3', 180_000, () => qemu.exitCode !== null)
  return {
    agent,
    qmp,
    get told() {
      return console.matches('HOOK (.*)').map(([, what]) => what)
    },
    get writes() {
      return console.matches('WROTE (\\d+)').length
    },
    pause: () => qemu.kill('SIGSTOP'),
    resume: () => qemu.kill('SIGCONT'),
  }
}

function buildInitramfs(): Buffer {
  const agent = which('qemu-ga')
  if (agent === undefined) throw new Error('a guest with an agent needs qemu-ga, of the package qemu-guest-agent')
  const modules = loadModules(findKernel()!.modules, ['virtio_pci', 'virtio_blk', 'virtio_console'])
  const programs = ['cat', 'insmod', 'mount', 'sh', 'sleep'].map((name) => ({ name: `bin/${name}`, link: 'busybox' }))
  const files: Entry[] = [
    { name: 'bin/busybox', data: findBusybox()!, mode: 0o755 },
    ...programs,
    { name: 'bin/qemu-ga', data: readFileSync(agent), mode: 0o755 },
    { name: 'bin/hook', data: Buffer.from(HOOK), mode: 0o755 },
    ...libraries(agent).map((path) => ({ name: path.slice(1), data: readFileSync(path), mode: 0o755 })),
    ...modules.map(({ name, data }) => ({ name: `modules/${name}.ko`, data })),
    { name: 'modules/order', data: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')) },
    { name: 'init', data: Buffer.from(INIT), mode: 0o755 },
  ]
  const folders = new Set(['dev', 'mnt', 'proc', 'run'])
  for (const { name } of files) for (let up = dirname(name); up !== '.'; up = dirname(up)) folders.add(up)
  return cpio([...[...folders].sort().map((name) => ({ name, folder: true as const })), ...files])
}

/** What the dynamic linker loads with the program. */
function libraries(program: string): string[] {
  const lines = execFileSync('ldd', [program], { encoding: 'utf8' }).split('\n')
  return lines.flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? [])
}
