/** A drive that nobody writes to: a backup of it by QMP, and what qemu-img makes of it through qemu-nbd. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnTied } from '../../src/system/child.ts'
import { alternate, type Measured } from '../measure.ts'
import { type Settings, vmapipe } from '../topic.ts'

export const OURS = 'vmapipe backup --qmp'
export const THEIRS = 'qemu-img convert through qemu-nbd'

/** Both from the first connection to the last byte; QEMU and qemu-nbd run already. */
export async function idle(image: string, { runs, folder }: Settings): Promise<Measured[]> {
  const [monitor, socket] = ['idle.qmp', 'idle.nbd'].map((name) => join(folder, name))
  const file = { driver: 'file', filename: image, 'node-name': 'file', locking: 'off' }
  const machine = await started(monitor, 'qemu-system-x86_64', [
    ...[
      '-S',
      '-accel',
      'tcg',
      '-m',
      '64',
      '-nodefaults',
      '-display',
      'none',
      '-qmp',
      `unix:${monitor},server=on,wait=off`,
    ],
    ...['-blockdev', JSON.stringify({ driver: 'raw', 'node-name': 'disk', file })],
    ...['-device', 'virtio-blk-pci,drive=disk,id=disk'],
  ])
  const server = await started(socket, 'qemu-nbd', ['-t', '-f', 'raw', '-r', '-k', socket, image])
  const [archive, copy] = ['idle.vma', 'idle.raw'].map((name) => join(folder, name))
  try {
    return await alternate(
      [
        { name: OURS, argv: vmapipe('backup', '--qmp', monitor, '-o', archive), makes: [archive] },
        {
          name: THEIRS,
          argv: ['qemu-img', 'convert', `nbd+unix:///?socket=${socket}`, '-O', 'raw', copy],
          makes: [copy],
        },
      ],
      runs,
      folder,
    )
  } finally {
    for (const child of [machine, server]) {
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
    }
  }
}

async function started(socket: string, program: string, args: string[]): Promise<ChildProcess> {
  const child = spawnTied(program, args, { stdio: 'ignore' })
  while (!existsSync(socket)) {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}`)
    await sleep(10)
  }
  return child
}
