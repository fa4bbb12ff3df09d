/**
 * Drives of a qemu-storage-daemon in the place of a guest's: the same block nodes, without a machine. What a guest would
 * do to the filters is done through NBD exports of them, which are there as soon as the point in time is.
 */

import assert from 'node:assert/strict'
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../../src/core/geometry.ts'
import type { PushDrive } from '../../../src/live/qemu/attachment/attachment.ts'
import { type Command, executeAll } from '../../../src/live/qemu/attachment/commands.ts'
import type { GuestSwitch } from '../../../src/live/qemu/attachment/guest-switch.ts'
import { QemuConnection } from '../../../src/live/qemu/connection.ts'
import { NbdClient } from '../../../src/protocol/nbd/client.ts'
import { type StockQemu, startStorageDaemon } from '../../support/qemu.ts'
import type { QemuBuild } from '../../support/qemu-builds.ts'
import { tmpDir } from '../../support/tmp.ts'

type Hooks = { after(hook: () => void | Promise<void>): void }

export interface DaemonDrives {
  daemon: StockQemu
  connection: QemuConnection
  drives: PushDrive[]
  guest: GuestSwitch
  images: string[]
  /** What the images held when they were made. */
  before: Buffer[]
}

export async function startDaemonDrives(t: Hooks, build: QemuBuild, sizes: readonly number[], random: () => number) {
  const dir = tmpDir(t)
  const images = sizes.map((_, index) => join(dir, `image${index}`))
  for (const [index, size] of sizes.entries()) makeImage(images[index], size, random)
  const nodes = images.flatMap((filename, index) => {
    const file = { driver: 'file', filename, discard: 'unmap' }
    return ['--blockdev', JSON.stringify({ driver: 'raw', 'node-name': `node${index}`, discard: 'unmap', file })]
  })
  const daemon = await startStorageDaemon(t, nodes, build)
  const connection = await QemuConnection.open({ qmp: daemon.qmp })
  t.after(() => connection.qmp.close())
  const drives = sizes.map((size, index) => ({ name: `drive${index}`, node: `node${index}`, device: `${index}`, size }))
  const guest = daemonSwitch(drives.length)
  return { daemon, connection, drives, guest, images, before: images.map((image) => readFileSync(image)) }
}

/** Data and holes of random lengths, and data at both ends. */
function makeImage(path: string, size: number, random: () => number): void {
  const file = openSync(path, 'w')
  ftruncateSync(file, size)
  for (let at = 0; at < size; ) {
    const length = Math.min(size - at, 512 * Math.ceil(random() * 1000))
    if (at === 0 || at + length === size || random() < 0.6) {
      const data = Buffer.alloc(length, `${at} of ${path} ${random()}\n`)
      writeSync(file, data, 0, length, at)
    }
    at += length
  }
  closeSync(file)
}

/** The exports come last of all, as the processors of a guest do. */
function daemonSwitch(drives: number): GuestSwitch {
  const exports = Array.from({ length: drives }, (_, index): Command => {
    const name = guestExport(index)
    return ['block-export-add', { type: 'nbd', id: name, name, 'node-name': `vmapipe-cbw${index}`, writable: true }]
  })
  // What a device does when its node is switched, the storage daemon has nothing of.
  return {
    attach: () => ['query-version'],
    async whileStill(qmp, commands) {
      const results = await executeAll(qmp, [...commands, ...exports])
      return results.slice(0, commands.length)
    },
  }
}

function guestExport(index: number): string {
  return `vmapipe-guest${index}`
}

/**
 * Writes, zeroes and discards at random places, as fast as the drives take them, until the exports are taken away. An
 * error before that is the guest's. Where the drives take no writes at all, `beat` stands still.
 */
export class RandomWriter {
  readonly ended: Promise<void>
  requests = 0
  /** Milliseconds. */
  longest = 0
  #over = false
  #isComplete = false
  readonly #connecting = new Set<Promise<unknown>>()

  constructor(socketPath: string, drives: readonly PushDrive[], random: () => number) {
    this.ended = Promise.all(drives.map((_, index) => this.#write(socketPath, index, random))).then(() => {})
    this.ended.catch(() => {})
  }

  stop(): void {
    this.#over = true
  }

  /**
   * Nobody connects any more, and nobody is about to: QEMU 7.2 hangs when its NBD server ends in the middle of a
   * handshake. A backup's own connections have ended before that.
   */
  async settled(): Promise<void> {
    this.#isComplete = true
    await Promise.allSettled(this.#connecting)
  }

  async #write(socketPath: string, index: number, random: () => number): Promise<void> {
    const client = await this.#connect({ socketPath, exportName: guestExport(index) })
    if (client === null) return
    await Promise.all(Array.from({ length: 4 }, () => this.#work(client, random)))
    await client.close()
  }

  /** When the export is there, its backup has switched. */
  async #connect(address: { socketPath: string; exportName: string }): Promise<NbdClient | null> {
    while (!this.#over && !this.#isComplete) {
      const attempt = NbdClient.connect(address)
      this.#connecting.add(attempt)
      try {
        return await attempt
      } catch {
        await sleep(5)
      } finally {
        this.#connecting.delete(attempt)
      }
    }
    return null
  }

  async #work(client: NbdClient, random: () => number): Promise<void> {
    while (!this.#over) {
      const from = performance.now()
      try {
        await this.#request(client, random)
      } catch (error) {
        // The connection's end is no error of the guest's: its disk is another one then.
        if (isEnd(error)) return
        throw error
      }
      this.requests++
      this.longest = Math.max(this.longest, performance.now() - from)
      if (random() < 0.1) await sleep(1)
    }
  }

  async #request(client: NbdClient, random: () => number): Promise<void> {
    const wished = random() < 0.1 ? 20 * CLUSTER_SIZE : 512 * Math.ceil(random() * 32)
    const length = Math.min(wished, client.size)
    const offset = 512 * Math.floor((random() * (client.size - length)) / 512)
    const kind = random()
    if (kind < 0.8) await client.write([Buffer.alloc(length, 'new')], offset)
    else if (kind < 0.9) await client.writeZeroes(offset, length)
    else await client.trim(offset, length)
  }
}

function isEnd(error: unknown): boolean {
  const { cause, message } = error as Error
  assert.ok(message)
  return (cause as { code?: string } | undefined)?.code === undefined || /ECONNRESET|EPIPE/.test(String(cause))
}
