/** How long a guest takes to boot from its backup, from the moment that somebody wants it, against its raw image. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { backup } from '../src/operations/backup.ts'
import { makeGuestDisk } from '../test/support/guest/disk.ts'
import { startGuest } from '../test/support/guest/guest.ts'
import { median, spread } from './statistics.ts'
import { type Section, type Settings, type Table, vmapipe } from './topic.ts'

const DRIVE = 'drive-scsi0'
/** The filesystem takes 64 MiB of it; the rest is a hole, as on most disks. */
const DISK = 8 * 2 ** 30
const RAW = 'the raw image, opened by QEMU'

interface Boot {
  /** Seconds until the disk was served, and until the guest's first program said so. */
  ready: number
  booted: number
  /** The most that the server had resident, in bytes. */
  memory: number
}

interface Way {
  name: string
  /** Nothing for QEMU alone. `run` counts from 0: each may write into its own folder. */
  command?: (run: number) => string[]
}

export async function run({ runs, quick, folder }: Settings): Promise<Section> {
  const image = join(folder, 'disk.raw')
  makeGuestDisk(image, 'booted')
  truncateSync(image, DISK)
  for (const archive of ['vm.vma', 'vm.vma.zst']) {
    await backup({ drives: { [DRIVE]: image }, to: join(folder, archive) })
  }
  const socket = join(folder, 'nbd')
  const exported = (archive: string) => (run: number) =>
    vmapipe('export', join(folder, archive), '--overlay', join(folder, `changes-${archive}-${run}`), '--socket', socket)
  const ways: Way[] = [
    { name: RAW },
    {
      name: 'vmapipe serve of the raw image',
      command: () => vmapipe('serve', '-d', `${DRIVE}=${image}`, '--socket', socket),
    },
    { name: 'vmapipe export --overlay of .vma', command: exported('vm.vma') },
    { name: 'vmapipe export --overlay of .vma.zst', command: exported('vm.vma.zst') },
    {
      name: 'vmapipe restore --live of .vma.zst',
      command: (run) =>
        vmapipe('restore', join(folder, 'vm.vma.zst'), join(folder, `live-${run}`), '--live', '--socket', socket),
    },
  ]
  const boots = new Map(ways.map(({ name }) => [name, [] as Boot[]]))
  for (let run = 0; run < (quick ? 1 : runs); run++) {
    for (const way of ways) boots.get(way.name)!.push(await boot(way, run, image, socket))
    process.stderr.write(`  run ${run + 1}\n`)
  }
  return section(boots, image)
}

async function boot({ command }: Way, run: number, image: string, socket: string): Promise<Boot> {
  const ends: (() => unknown)[] = []
  const hooks = { after: (hook: () => unknown) => void ends.unshift(hook) }
  const began = performance.now()
  const passed = () => (performance.now() - began) / 1000
  try {
    const server = command && (await serve(command(run), hooks))
    const ready = passed()
    // It is mounted read-only: nobody needs a copy.
    const disk = server === undefined ? { file: image } : { socket, name: DRIVE }
    const guest = await startGuest(hooks as never, { role: 'boot', disks: [disk] })
    await guest.waitFor('BOOTED booted .*', 120_000)
    const booted = passed()
    const memory = server === undefined ? 0 : peakOf(server.pid!)
    await guest.poweredOff()
    return { ready, booted, memory }
  } finally {
    for (const end of ends) await end()
  }
}

async function serve(
  [program, ...args]: string[],
  hooks: { after: (hook: () => unknown) => void },
): Promise<ChildProcess> {
  const child = spawn(program, [...args, '--ready-fd', '3'], { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] })
  const exit = once(child, 'exit')
  hooks.after(() => {
    child.kill('SIGTERM')
    return exit
  })
  await Promise.race([
    once(child.stdio[3] as Readable, 'data'),
    exit.then(([code]) => Promise.reject(new Error(`${args[1]} ended with ${code}`))),
  ])
  return child
}

function peakOf(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]) * 1024
}

function section(boots: ReadonlyMap<string, Boot[]>, image: string): Section {
  const seconds = (name: string) => boots.get(name)!.map(({ booted }) => booted)
  const table: Table = {
    head: ['the guest boots from', 'served after s', 'booted after s', 'min–max', 'peak MiB of the server'],
    rows: [...boots].map(([name, all]) => [
      name,
      name === RAW ? '' : median(all.map(({ ready }) => ready)).toFixed(2),
      median(seconds(name)).toFixed(2),
      spread(seconds(name)),
      name === RAW ? '' : (Math.max(...all.map(({ memory }) => memory)) / 2 ** 20).toFixed(0),
    ]),
  }
  return {
    title: 'A guest that boots from its backup',
    intro: [
      `A guest with a kernel and an initramfs of QEMU's command line mounts its disk, an image of ${statSync(image).size / 2 ** 30} GiB ` +
        'with an ext4 filesystem of 64 MiB, and starts the first program of it. Counted from the start of the command that ' +
        'serves the disk (Node starts in that time, too) to what that program says; QEMU without KVM where there is none.',
    ],
    tables: [table],
    goals: [],
  }
}
