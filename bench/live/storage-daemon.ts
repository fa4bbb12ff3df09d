/** The peer: qemu-storage-daemon as the disk, and its `blockdev-backup` by NBD to another one that throws all away. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { spawnTied } from '../../src/system/child.ts'
import { isListening } from '../../test/support/qemu.ts'
import type { Target } from './fio.ts'

export class StorageDaemon {
  readonly target: Target
  readonly #children: ChildProcess[]
  readonly #qmp: QmpClient

  private constructor(children: ChildProcess[], qmp: QmpClient, target: Target) {
    this.#children = children
    this.#qmp = qmp
    this.target = target
  }

  static async start(image: string, folder: string): Promise<StorageDaemon> {
    const [socket, monitor, sinkSocket] = ['qsd.nbd', 'qsd.qmp', 'null.nbd'].map((name) => join(folder, name))
    const { size } = await stat(image)
    const sink = daemon([
      ...['--blockdev', `driver=null-co,node-name=null,size=${size},read-zeroes=on`],
      ...['--nbd-server', `addr.type=unix,addr.path=${sinkSocket}`],
      ...['--export', 'type=nbd,id=e,node-name=null,name=null,writable=on'],
    ])
    await appears(sinkSocket, sink)
    const disk = daemon([
      ...['--blockdev', `driver=file,node-name=disk,filename=${image},discard=unmap`],
      ...['--blockdev', `driver=nbd,node-name=target,server.type=unix,server.path=${sinkSocket},export=null`],
      ...['--nbd-server', `addr.type=unix,addr.path=${socket},max-connections=0`],
      ...['--export', 'type=nbd,id=e,node-name=disk,name=disk,writable=on'],
      ...['--chardev', `socket,id=c,path=${monitor},server=on,wait=off`, '--monitor', 'chardev=c'],
    ])
    await appears(monitor, disk)
    return new StorageDaemon([disk, sink], await QmpClient.connect(monitor), { socket, export: 'disk', size })
  }

  /** The same as Serving.backUpAllTheTime. */
  async backUpAllTheTime(): Promise<{ stop: () => Promise<void> }> {
    let running = true
    const begin = (id: string) =>
      this.#qmp.execute('blockdev-backup', { 'job-id': id, device: 'disk', target: 'target', sync: 'full' })
    await begin('b0')
    const loop = (async () => {
      for (let count = 1; running; count++) {
        while (running && (await this.#jobs()).length > 0) await sleep(20)
        if (running) await begin(`b${count}`)
      }
    })()
    return {
      stop: async () => {
        running = false
        await loop
        for (const { device } of await this.#jobs())
          await this.#qmp.execute('block-job-cancel', { device, force: true })
        while ((await this.#jobs()).length > 0) await sleep(20)
      },
    }
  }

  async stop(): Promise<void> {
    this.#qmp.close()
    for (const child of this.#children) {
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      await exit
    }
  }

  async #jobs(): Promise<{ device: string }[]> {
    return (await this.#qmp.execute('query-block-jobs')) as { device: string }[]
  }
}

function daemon(args: string[]): ChildProcess {
  return spawnTied('qemu-storage-daemon', args, { stdio: 'ignore' })
}

async function appears(socket: string, child: ChildProcess): Promise<void> {
  while (!isListening(socket)) {
    if (child.exitCode !== null) throw new Error(`qemu-storage-daemon ended with ${child.exitCode}`)
    await sleep(10)
  }
}
