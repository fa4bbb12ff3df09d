/**
 * Drives of a stock QEMU that are written to: qemu-storage-daemon has the same block nodes, jobs and exports as a QEMU with
 * a guest. What the guest's device would be is a node `topN`, whose export the writer writes to; a filter goes below it.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { PushDrive } from '../../src/live/qemu/attachment/attachment.ts'
import { type Command, executeAll } from '../../src/live/qemu/attachment/commands.ts'
import type { GuestSwitch } from '../../src/live/qemu/attachment/guest-switch.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { spawnTied } from '../../src/system/child.ts'
import { isListening } from '../../test/support/qemu.ts'
import type { Written } from './written.ts'

export class Drives {
  readonly qmp: QmpClient
  readonly drives: PushDrive[]
  /** Of QEMU's NBD server. */
  readonly socket: string
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, qmp: QmpClient, drives: PushDrive[], socket: string) {
    this.#child = child
    this.qmp = unlessServing(qmp)
    this.drives = drives
    this.socket = socket
  }

  static async start(images: readonly string[], folder: string): Promise<Drives> {
    const [socket, monitor] = ['guest.nbd', 'guest.qmp'].map((name) => join(folder, name))
    const args = images.flatMap((filename, index) => [
      ...[
        '--blockdev',
        JSON.stringify({ ...raw(`node${index}`), file: { driver: 'file', filename, discard: 'unmap' } }),
      ],
      ...['--blockdev', JSON.stringify({ ...raw(`top${index}`), file: `node${index}` })],
    ])
    const server = ['--nbd-server', `addr.type=unix,addr.path=${socket},max-connections=0`]
    const exports = images.flatMap((_, index) => [
      ...['--export', `type=nbd,id=guest${index},name=guest${index},node-name=top${index},writable=on`],
    ])
    const control = ['--chardev', `socket,id=c,path=${monitor},server=on,wait=off`, '--monitor', 'chardev=c']
    const child = spawnTied('qemu-storage-daemon', [...args, ...server, ...exports, ...control], { stdio: 'ignore' })
    while (!isListening(monitor)) {
      if (child.exitCode !== null) throw new Error(`qemu-storage-daemon ended with ${child.exitCode}`)
      await sleep(10)
    }
    const drives = await Promise.all(
      images.map(async (image, index) => {
        const { size } = await stat(image)
        return { name: `drive${index}`, node: `node${index}`, device: `top${index}`, size }
      }),
    )
    return new Drives(child, await QmpClient.connect(monitor), drives, socket)
  }

  /** What a device does when its node is switched, `topN` does here. */
  get guest(): GuestSwitch {
    return {
      attach: (device, node) => reopened(device, node),
      whileStill: (qmp, commands) => executeAll(qmp, commands),
    }
  }

  /** Below `topN` is again what was there. */
  async detach(): Promise<void> {
    for (const { device, node } of this.drives) await this.qmp.execute(...reopened(device, node))
  }

  /** A process that writes to all drives, from now until `stop`; to each `pace` times a second at most, 0 for no limit. */
  async writer(pace: number): Promise<{ stop(): Promise<Written> }> {
    const exports = this.drives.map((_, index) => `guest${index}`)
    const words = [join(import.meta.dirname, 'writer.ts'), this.socket, String(pace), ...exports]
    const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] })
    const said = text(child.stdout!)
    await Promise.race([once(child.stdout!, 'readable'), once(child, 'close')])
    return {
      stop: async () => {
        child.stdin!.end()
        return JSON.parse((await said).trim().split('\n')[1])
      },
    }
  }

  async stop(): Promise<void> {
    this.qmp.close()
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    await exit
  }
}

function raw(node: string): object {
  return { driver: 'raw', 'node-name': node, discard: 'unmap' }
}

function reopened(device: string, node: string): Command {
  return ['blockdev-reopen', { options: [{ ...raw(device), file: node }] }]
}

/** QEMU has one NBD server, which the writer needs before a backup would start it. */
function unlessServing(qmp: QmpClient): QmpClient {
  return new Proxy(qmp, {
    get(target, key) {
      const value = Reflect.get(target, key, target)
      if (typeof value !== 'function') return value
      if (key !== 'execute') return value.bind(target)
      return (...args: Parameters<QmpClient['execute']>) =>
        args[0] === 'nbd-server-start' ? Promise.resolve({}) : target.execute(...args)
    },
  })
}
