/** Zeroes and trims of gigabytes, most of it holes: what they cost others in memory and time. */

import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { describe, test } from 'node:test'
import { setTimeout as sleep, setImmediate as tick } from 'node:timers/promises'
import { VmapipeError } from '../../src/core/errors.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { CHANGE_BYTES, GuestDrive } from '../../src/live/guest-drive.ts'
import { LiveBackup, type LiveBackupOptions } from '../../src/live/live-backup.ts'
import type { Disk, ZeroOptions } from '../../src/storage/disk.ts'
import { MemoryDisk } from '../support/memory-disk.ts'
import { imagesOf } from './images.ts'

const timeout = 240_000
const MiB = 1 << 20
const GiB = 2 ** 30

/** Nothing but a hole, behind `data` bytes. */
class ThinDisk implements Disk {
  readonly readOnly = false
  readonly size: number
  readonly data: number
  readonly calls: string[] = []
  flushes = 0

  constructor(size: number, data = 0) {
    this.size = size
    this.data = data
  }

  async read(buffer: Uint8Array): Promise<void> {
    buffer.fill(1)
  }

  async write(): Promise<void> {
    await tick()
  }

  async zero(offset: number, length: number, { fast, fua }: ZeroOptions = {}): Promise<void> {
    this.calls.push(`zero ${offset / MiB}+${length / MiB}${fast ? ' fast' : ''}${fua ? ' fua' : ''}`)
    await tick()
  }

  async trim(offset: number, length: number): Promise<void> {
    this.calls.push(`trim ${offset / MiB}+${length / MiB}`)
    await tick()
  }

  async flush(): Promise<void> {
    this.flushes++
  }

  isHole(offset: number): boolean {
    return offset >= this.data
  }

  async *map(offset: number, length: number) {
    const end = offset + length
    const to = Math.min(end, Math.max(offset, this.data))
    if (to > offset) yield { offset, length: to - offset, zero: false }
    if (end > to) yield { offset: to, length: end - to, zero: true }
  }

  async close(): Promise<void> {}
}

const stuck = () => new Writable({ write: () => {} })

/** A backup whose reader takes nothing, and that has read what it has room for. */
async function begin(disk: Disk, options: Partial<LiveBackupOptions> = {}) {
  const drive = new GuestDrive(disk)
  const backup = new LiveBackup({ drives: { a: drive }, to: stuck(), buffer: 16 * MiB, ...options })
  const done = backup.run()
  let failure: unknown = null
  done.catch((error) => {
    failure = error
  })
  while (backup.status.since === 0) {
    if (failure !== null) throw failure
    await tick()
  }
  await sleep(50)
  const end = async () => {
    backup.abort(new VmapipeError('ABORTED', 'enough'))
    await assert.rejects(done, { code: 'ABORTED' })
  }
  return { drive, backup, done, end }
}

/** The longest work between two turns of the event loop while `work` went on, in milliseconds of the processor: others use the machine too. */
async function longestBlock(work: Promise<unknown>): Promise<number> {
  let longest = 0
  let over = false
  const ended = work.finally(() => {
    over = true
  })
  while (!over) {
    const before = process.cpuUsage()
    await tick()
    const { user, system } = process.cpuUsage(before)
    longest = Math.max(longest, (user + system) / 1000)
  }
  await ended
  return longest
}

describe('copies of holes', { timeout }, () => {
  for (const how of ['write', 'zero', 'trim'] as const) {
    test(`take of the buffer, and make the backup give up when it is full: ${how}`, async () => {
      const disk = new ThinDisk(2 ** 43, 64 * MiB)
      const { drive, backup, done } = await begin(disk, { maxStall: 400, buffer: 9 * MiB })
      const { size } = backup.status.buffer
      let over = false
      const ended = assert
        .rejects(done, how === 'trim' ? /enough/ : /has waited \d+ ms for the archive/)
        .finally(() => {
          over = true
        })
      // Each is a run of its own, as the clusters between them are left out.
      let next = 0
      const lanes = Array.from({ length: 50 }, async () => {
        while (!over && next < 30_000) {
          const offset = GiB + next++ * 2 * CLUSTER_SIZE
          if (how === 'write') await drive.write([Buffer.alloc(4096)], offset)
          else await drive[how](offset, CLUSTER_SIZE)
          if (how === 'trim' && next - disk.calls.length > 100) backup.abort(new VmapipeError('ABORTED', 'enough'))
        }
      })
      await Promise.all([ended, ...lanes])
      assert.ok(over && next < 30_000)
      const { buffer, clusters } = backup.status
      assert.ok(buffer.highest <= size && buffer.highest > size / 2)
      assert.ok(clusters.copied <= size / 512)
    })
  }

  test('are one for 64 MiB of a long change', async () => {
    const { drive, backup, end } = await begin(new ThinDisk(2 ** 43, 64 * MiB))
    await drive.zero(4 * GiB, 4 * GiB - CLUSTER_SIZE)
    await drive.trim(16 * GiB, 4 * GiB)
    assert.deepEqual(backup.status.copies, { reads: 0, archived: 128, requests: 2 })
    assert.equal(backup.status.clusters.copied, 2 * 65_536 - 1)
    await end()
  })

  test('hold the event loop up for no longer than others notice', async () => {
    const { drive, end } = await begin(new ThinDisk(2 ** 43, 64 * MiB), { buffer: 64 * MiB })
    for (const how of ['zero', 'trim'] as const) {
      const changes = Array.from({ length: 32 }, (_, index) =>
        drive[how]((how === 'zero' ? 8 : 4096) * GiB + index * 4 * GiB, 4 * GiB - CLUSTER_SIZE),
      )
      const blocked = await longestBlock(Promise.all(changes))
      assert.ok(blocked < 150, `${how}: ${blocked} ms`)
    }
    await end()
  })
})

describe('long changes', { timeout }, () => {
  test('go in pieces, and FUA is one flush at their end', async () => {
    const disk = new ThinDisk(GiB)
    const drive = new GuestDrive(disk)
    await drive.zero(10 * MiB, 100 * MiB, { fua: true, fast: true })
    await drive.trim(CHANGE_BYTES, 2 * CHANGE_BYTES, { fua: true })
    assert.deepEqual(disk.calls, ['zero 10+54 fast', 'zero 64+46', 'trim 64+64', 'trim 128+64'])
    assert.equal(disk.flushes, 2)
  })

  test('find in the archive what was there before them, holes and data', async () => {
    const disk = new MemoryDisk(1500 * CLUSTER_SIZE)
    for (const from of [0, 100, 900, 1023, 1400, 1499])
      disk.bytes.fill((from % 250) | 1, from * CLUSTER_SIZE, (from + 1) * CLUSTER_SIZE)
    const before = Buffer.from(disk.bytes)
    const parts: Buffer[] = []
    const to = new Writable({
      write(part, _, go) {
        parts.push(Buffer.from(part))
        go()
      },
    })
    const { drive, done } = await begin(disk, { to, bwlimit: 256 * MiB })
    await Promise.all([
      drive.zero(10, 1200 * CLUSTER_SIZE),
      drive.trim(500 * CLUSTER_SIZE, 700 * CLUSTER_SIZE),
      drive.zero(1390 * CLUSTER_SIZE, 110 * CLUSTER_SIZE),
    ])
    await done
    assert.ok((await imagesOf(Buffer.concat(parts))).get('a')!.equals(before))
    assert.ok(disk.bytes.subarray(10, 500 * CLUSTER_SIZE).every((byte) => byte === 0))
  })
})

describe('a backup of an idle guest', { timeout }, () => {
  test('whose reader hangs is given up, and says how to allow more', async () => {
    const { done, backup } = await begin(new ThinDisk(GiB, GiB), { maxHang: 300 })
    await assert.rejects(done, (error: any) => {
      assert.match(
        error.message,
        /nothing of the archive has been taken for [\d.]+ s, 0\.3 s are allowed: the backup was given up/,
      )
      assert.match(error.hint, /--max-hang/)
      return true
    })
    assert.equal(backup.status.waiting.count, 0)
  })

  test('also if the guest still changes a little', async () => {
    const { drive, done } = await begin(new ThinDisk(GiB, GiB), { maxHang: 300 })
    let over = false
    const ended = assert.rejects(done, /nothing of the archive has been taken/).finally(() => {
      over = true
    })
    for (let index = 0; !over; index++) {
      await drive.write([Buffer.alloc(512)], GiB - (1 + index) * CLUSTER_SIZE)
      await sleep(20)
    }
    await ended
  })

  test('that goes slowly is not given up', async () => {
    const slowly = new Writable({ write: (_, __, go) => void setTimeout(go, 20) })
    const { done } = await begin(new ThinDisk(40 * MiB, 40 * MiB), { maxHang: 200, to: slowly })
    await done
  })

  test('whose scan is limited is not given up for that', async () => {
    const { done } = await begin(new ThinDisk(3 * MiB, 3 * MiB), { maxHang: 100, bwlimit: 3 * MiB })
    const outcome = await Promise.race([done.then(() => 'done', String), sleep(400, 'goes on')])
    assert.ok(outcome === 'goes on' || outcome === 'done', outcome)
  })
})
