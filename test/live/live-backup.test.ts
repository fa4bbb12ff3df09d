import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { describe, test } from 'node:test'
import { setTimeout as sleep, setImmediate as tick } from 'node:timers/promises'
import { VmapipeError } from '../../src/core/errors.ts'
import { CLUSTER_SIZE, clusterCount } from '../../src/core/geometry.ts'
import { GuestDrive } from '../../src/live/guest-drive.ts'
import { LiveBackup, type LiveBackupOptions } from '../../src/live/live-backup.ts'
import { lateness } from '../support/lateness.ts'
import { MemoryDisk } from '../support/memory-disk.ts'
import { seed, seeded } from '../support/random.ts'
import { imagesOf } from './images.ts'

const timeout = 240_000

/** A sink that keeps everything; `pace` is awaited before each write. */
function archive(pace: () => Promise<unknown> = async () => {}): Writable & { bytes(): Buffer } {
  const parts: Buffer[] = []
  const stream = new Writable({
    write(data, _, done) {
      parts.push(Buffer.from(data))
      pace().then(() => done(), done)
    },
  })
  return Object.assign(stream, { bytes: () => Buffer.concat(parts) })
}

function randomDisk(clusters: number, random: () => number, tail = 0): MemoryDisk {
  const disk = new MemoryDisk(clusters * CLUSTER_SIZE + tail, random)
  for (let at = 0; at < disk.size; at += CLUSTER_SIZE) {
    if (random() < 0.7) disk.bytes.fill(1 + Math.floor(random() * 250), at, Math.min(disk.size, at + CLUSTER_SIZE))
  }
  return disk
}

/** The backup, and what the drives hold when it switches. */
function start(
  disks: Record<string, MemoryDisk>,
  drives: Record<string, GuestDrive>,
  options: Partial<LiveBackupOptions> & { to: Writable },
) {
  const backup = new LiveBackup({ drives, ...options })
  return {
    backup,
    done: backup.run(),
    before: new Map(Object.entries(disks).map(([name, { bytes }]) => [name, Buffer.from(bytes)])),
  }
}

async function begun(backup: LiveBackup): Promise<void> {
  while (backup.status.since === 0) await tick()
}

describe('a live backup', { timeout }, () => {
  test('of a quiet guest is its drives', async () => {
    const disks = { a: randomDisk(70, seeded(1), 512), b: randomDisk(3, seeded(2)) }
    const drives = { a: new GuestDrive(disks.a), b: new GuestDrive(disks.b) }
    const to = archive()
    const { done, before, backup } = start(disks, drives, { to, configs: { 'vm.conf': Buffer.from('x') } })
    await done
    assert.deepEqual(await imagesOf(to.bytes()), before)
    const { clusters } = backup.status
    assert.deepEqual(clusters, { total: 74, scanned: 74, copied: 0 })
  })

  test('holds the old data of what the guest overwrites, and the guest gets the new', async () => {
    const disk = randomDisk(500, seeded(3))
    const drive = new GuestDrive(disk)
    disk.bytes.fill('o')
    const to = archive(() => sleep(3))
    const { backup, done, before } = start({ a: disk }, { a: drive }, { to, buffer: 32 << 20 })
    await begun(backup)
    for (const cluster of [499, 450, 450, 498, 0])
      await drive.write([Buffer.alloc(4096, 'n')], cluster * CLUSTER_SIZE + 4096)
    await drive.zero(420 * CLUSTER_SIZE + 100, 3 * CLUSTER_SIZE)
    await drive.trim(400 * CLUSTER_SIZE, CLUSTER_SIZE)
    assert.equal(disk.bytes.toString('latin1', 499 * CLUSTER_SIZE + 4095, 499 * CLUSTER_SIZE + 4098), 'onn')
    await done
    assert.deepEqual(await imagesOf(to.bytes()), before)
    const { clusters, copies } = backup.status
    assert.equal(clusters.scanned + clusters.copied, clusters.total)
    assert.ok(clusters.copied >= 3, 'the guest was there before the scan')
    assert.ok(copies.reads <= clusters.copied)
  })

  test('comes to its end when the guest came first nearly everywhere where the scan had made room', async () => {
    const disk = new MemoryDisk(600 * CLUSTER_SIZE)
    disk.bytes.fill('o')
    const drive = new GuestDrive(disk)
    const gate = Promise.withResolvers<void>()
    const { backup, done } = start({ a: disk }, { a: drive }, { to: archive(() => gate.promise), buffer: 16 << 20 })
    await begun(backup)
    // Eight pieces of the scan fill its memory; for the next four it waits, and gets it for all of their clusters.
    while (backup.status.clusters.scanned < 128) await tick()
    for (let cluster = 128; cluster < 192; cluster++)
      if (cluster % 16 !== 0) await drive.write([Buffer.from('n')], cluster * CLUSTER_SIZE)
    // So that the two that are left come into one extent.
    for (let cluster = 590; cluster < 600; cluster++) await drive.write([Buffer.from('n')], cluster * CLUSTER_SIZE)
    gate.resolve()
    await done
    assert.deepEqual(backup.status.clusters, { total: 600, scanned: 530, copied: 70 })
  })

  test('comes to its end when an extent that is not full holds much of the guest', async () => {
    const disk = new MemoryDisk(200 * CLUSTER_SIZE)
    disk.bytes.fill('o')
    const drive = new GuestDrive(disk)
    const { backup, done } = start({ a: disk }, { a: drive }, { to: archive(), buffer: 16 << 20, bwlimit: 8 << 20 })
    await begun(backup)
    await sleep(50)
    // Between two pieces of the scan: what is left behind a full extent is two clusters, in the memory of seventeen.
    const fresh = Buffer.alloc(16 * CLUSTER_SIZE, 'n')
    await drive.write([fresh.subarray(0, CLUSTER_SIZE)], 170 * CLUSTER_SIZE)
    await drive.write([fresh], 180 * CLUSTER_SIZE)
    await drive.write([fresh.subarray(0, CLUSTER_SIZE)], 172 * CLUSTER_SIZE)
    await done
    assert.deepEqual(backup.status.clusters, { total: 200, scanned: 182, copied: 18 })
  })

  test('reads each cluster once, whoever comes first', async () => {
    const disk = randomDisk(300, seeded(4))
    disk.bytes.fill('o')
    disk.delay = 2
    const read: number[] = new Array(300).fill(0)
    const counted = new Proxy(disk, {
      get(target, name) {
        const value = Reflect.get(target, name)
        if (name !== 'read') return typeof value === 'function' ? value.bind(target) : value
        return (buffer: Buffer, offset: number) => {
          for (let at = 0; at < buffer.length; at += CLUSTER_SIZE) read[(offset + at) / CLUSTER_SIZE]++
          return target.read(buffer, offset)
        }
      },
    })
    const drive = new GuestDrive(counted)
    const to = archive()
    const { backup, done } = start({ a: disk }, { a: drive }, { to })
    await begun(backup)
    const random = seeded(5)
    const writes = Array.from({ length: 200 }, () =>
      drive.write([Buffer.from('new')], Math.floor(random() * 300) * CLUSTER_SIZE),
    )
    await Promise.all([...writes, done])
    assert.deepEqual(read, new Array(300).fill(1))
  })

  test('counts a write into its cluster as one read and two writes', async () => {
    const disk = new MemoryDisk(4000 * CLUSTER_SIZE)
    disk.bytes.fill('o', 3000 * CLUSTER_SIZE)
    const drive = new GuestDrive(disk)
    const { backup, done } = start({ a: disk }, { a: drive }, { to: archive(() => sleep(20)), bwlimit: 16 << 20 })
    await begun(backup)
    for (let index = 0; index < 50; index++) await drive.write([Buffer.from('n')], (3999 - index) * CLUSTER_SIZE)
    assert.deepEqual(backup.status.copies, { reads: 50, archived: 50, requests: 50 })
    backup.abort(new VmapipeError('ABORTED', 'enough'))
    await assert.rejects(done, { code: 'ABORTED' })
  })

  test('does not read holes for the guest', async () => {
    const disk = new MemoryDisk(1000 * CLUSTER_SIZE)
    const drive = new GuestDrive(disk)
    const stuck = new Promise(() => {})
    const { backup, done } = start({ a: disk }, { a: drive }, { to: archive(() => stuck) })
    await begun(backup)
    await drive.write([Buffer.from('n')], 999 * CLUSTER_SIZE)
    assert.equal(backup.status.copies.reads, 0)
    backup.abort(new VmapipeError('ABORTED', 'enough'))
    await assert.rejects(done, { code: 'ABORTED' })
  })

  test('a write that is under way at the point in time is in it whole, and one after it waits', async () => {
    for (let round = 0; round < 20; round++) {
      const disk = new MemoryDisk(2 * CLUSTER_SIZE, seeded(round))
      disk.bytes.fill('o')
      disk.delay = 5
      const drive = new GuestDrive(disk)
      const first = drive.write([Buffer.alloc(8192, '1')], 0)
      const to = archive()
      const { backup, done } = start({ a: disk }, { a: drive }, { to })
      await begun(backup)
      const second = drive.write([Buffer.alloc(8192, '2')], 4096)
      await Promise.all([first, second, done])
      const image = (await imagesOf(to.bytes())).get('a')!
      assert.equal(image.toString('latin1', 0, 8192), '1'.repeat(8192))
      assert.equal(image.toString('latin1', 8192, 16384), 'o'.repeat(8192))
      assert.equal(disk.bytes.toString('latin1', 4096, 12288), '2'.repeat(8192))
    }
  })
  test('a write that comes in pieces and began before the point in time is in it whole', async () => {
    const disk = new MemoryDisk(100 * CLUSTER_SIZE)
    disk.bytes.fill('o')
    const drive = new GuestDrive(disk)
    const half = 16 * CLUSTER_SIZE
    const long = drive.beginWrite(0, 2 * half)
    await long.write([Buffer.alloc(half, '1')], 0)
    const to = archive()
    const { backup, done } = start({ a: disk }, { a: drive }, { to })
    await begun(backup)
    // Others wait for the rest of it; it waits for nobody.
    const other = Promise.resolve(drive.write([Buffer.alloc(10, '2')], half + 5))
    assert.equal(await Promise.race([other.then(() => 'went on'), sleep(50, 'waits')]), 'waits')
    await long.write([Buffer.alloc(half, '1')], half)
    long.end()
    await Promise.all([other, done])
    const image = (await imagesOf(to.bytes())).get('a')!
    assert.equal(image.toString('latin1', 0, 2 * half), '1'.repeat(2 * half))
    assert.equal(disk.bytes.toString('latin1', half + 4, half + 16), `1${'2'.repeat(10)}1`)
  })

  test('a write that comes in pieces and waits for one backup belongs to the next one', async () => {
    const disk = new MemoryDisk(2000 * CLUSTER_SIZE)
    disk.bytes.fill('o')
    const drive = new GuestDrive(disk)
    const stuck = start({ a: disk }, { a: drive }, { to: archive(() => new Promise(() => {})), buffer: 16 << 20 })
    stuck.done.catch(() => {})
    await begun(stuck.backup)
    const long = drive.beginWrite(1000 * CLUSTER_SIZE, 960 * CLUSTER_SIZE)
    const pieces = Array.from({ length: 60 }, (_, index) =>
      long.write([Buffer.alloc(16 * CLUSTER_SIZE, 'n')], (1000 + 16 * index) * CLUSTER_SIZE),
    )
    while (stuck.backup.status.waiting.now === 0) await tick()
    stuck.backup.abort(new VmapipeError('ABORTED', 'enough'))
    const to = archive()
    const next = start({ a: disk }, { a: drive }, { to })
    await assert.rejects(stuck.done)
    await Promise.all(pieces)
    long.end()
    await next.done
    const image = (await imagesOf(to.bytes())).get('a')!
    assert.ok(image.subarray(1000 * CLUSTER_SIZE, 1960 * CLUSTER_SIZE).every((byte) => byte === 0x6e))
  })
})

describe('the guest wins', { timeout }, () => {
  const busy = async (options: Partial<LiveBackupOptions> & { to: Writable }) => {
    const disk = new MemoryDisk(2000 * CLUSTER_SIZE)
    disk.bytes.fill('o')
    const drive = new GuestDrive(disk)
    const { backup, done } = start({ a: disk }, { a: drive }, { buffer: 20 << 20, ...options })
    done.catch(() => {})
    await begun(backup)
    const write = async (cluster: number) => {
      const from = performance.now()
      await drive.write([Buffer.from('new')], cluster * CLUSTER_SIZE)
      return performance.now() - from
    }
    return { disk, drive, backup, done, write }
  }

  test('when the sink stops: no write waits beyond the bound, then all are fast', async () => {
    const { backup, done, write } = await busy({ to: archive(() => new Promise(() => {})), maxStall: 500 })
    const late = lateness()
    const waits = await Promise.all(Array.from({ length: 300 }, (_, index) => write(1999 - index)))
    assert.ok(Math.max(...waits) < 600 + late(), `a write waited ${Math.max(...waits)} ms`)
    assert.ok(Math.max(...waits) > 300, 'the buffer was full')
    await assert.rejects(done, /has waited \d+ ms for the archive, 500 are allowed/)
    assert.ok((await write(5)) < 50 + late())
    assert.equal(backup.status.waiting.now, 0)
  })

  test('when the sink is slow: writes are slowed down, and the backup goes on', async () => {
    const { done, write } = await busy({ to: archive(() => sleep(10)) })
    await Promise.all(Array.from({ length: 500 }, (_, index) => write(1999 - index)))
    await done
  })

  test('when the sink fails', async () => {
    const broken = new Writable({ write: (_, __, done) => done(new Error('the disk is full')) })
    const { done, write } = await busy({ to: broken })
    await Promise.all(Array.from({ length: 300 }, (_, index) => write(1999 - index)))
    await assert.rejects(done, /the disk is full/)
  })

  test('when the backup is aborted while writes wait', async () => {
    const { backup, done, write } = await busy({ to: archive(() => new Promise(() => {})) })
    const writes = Array.from({ length: 600 }, (_, index) => write(1999 - index))
    while (backup.status.waiting.now === 0) await sleep(5)
    backup.abort(new VmapipeError('ABORTED', 'the reader went away'))
    await Promise.all(writes)
    await assert.rejects(done, { code: 'ABORTED' })
  })

  test('when old data cannot be read for its write: the backup fails, the write is done', async () => {
    const { disk, done, write, drive } = await busy({ to: archive(() => sleep(5)) })
    disk.broken = { from: 1990 * CLUSTER_SIZE, to: 1991 * CLUSTER_SIZE }
    await write(1990)
    await assert.rejects(done, /old data of the guest cannot be read/)
    assert.equal(disk.bytes.toString('latin1', 1990 * CLUSTER_SIZE, 1990 * CLUSTER_SIZE + 3), 'new')
    await assert.rejects(async () => drive.read(Buffer.alloc(10), 1990 * CLUSTER_SIZE), { code: 'EIO' })
    await drive.read(Buffer.alloc(10), 0)
  })

  test('reads never wait', async () => {
    const { drive, backup, done, write } = await busy({ to: archive(() => new Promise(() => {})) })
    const writes = Array.from({ length: 600 }, (_, index) => write(1999 - index))
    await sleep(20)
    const late = lateness()
    const from = performance.now()
    await drive.read(Buffer.alloc(4096), 1999 * CLUSTER_SIZE)
    assert.ok(performance.now() - from < 100 + late())
    backup.abort(new VmapipeError('ABORTED', 'enough'))
    await Promise.all(writes)
    await assert.rejects(done)
  })

  test('a long trim does not make the backup give up: it is carried out in part', async () => {
    const { drive, done, backup } = await busy({ to: archive(() => sleep(100)), maxStall: 1000 })
    const late = lateness()
    const from = performance.now()
    await drive.trim(0, 2000 * CLUSTER_SIZE)
    assert.ok(performance.now() - from < 1000 + late())
    backup.abort(new VmapipeError('ABORTED', 'enough'))
    await assert.rejects(done, { code: 'ABORTED' })
  })
})

/**
 * One writer: it owns every eighth sector, as concurrent writes of the same bytes may happen in any order, and has one
 * request under way at a time. It notes what each sector held, by the number of the request that wrote it.
 */
interface Lane {
  /** Requests that were acknowledged, and that were begun. */
  acked: number
  begun: number
  history: { request: number; name: string; offset: number; length: number; value: number }[]
}

const SECTOR = 512

test(`a guest that writes all the time, against a model (seed ${seed})`, { timeout: 60_000 }, async () => {
  const random = seeded(seed)
  const between = (from: number, to: number) => from + Math.floor(random() * (to - from))
  const disks: Record<string, MemoryDisk> = {
    a: randomDisk(40, random, 1536),
    b: randomDisk(25, random),
    c: randomDisk(1, random, -60_000),
  }
  const names = Object.keys(disks)
  const original = new Map(names.map((name) => [name, Buffer.from(disks[name].bytes)]))
  const drives = Object.fromEntries(names.map((name) => [name, new GuestDrive(disks[name])]))
  for (const disk of Object.values(disks)) disk.delay = 1
  let stop = false

  const write = async (lane: Lane, index: number) => {
    const name = names[between(0, names.length)]
    const { size } = disks[name]
    const offset = (between(0, Math.ceil(size / SECTOR / 8)) * 8 + index) * SECTOR
    if (offset >= size) return
    const length = Math.min(SECTOR, size - offset)
    const value = random() < 0.2 ? 0 : between(1, 250)
    lane.history.push({ request: ++lane.begun, name, offset, length, value })
    if (value === 0) await drives[name].zero(offset, length)
    else await drives[name].write([Buffer.alloc(length, value)], offset)
    lane.acked = lane.begun
  }
  const lanes: Lane[] = Array.from({ length: 8 }, () => ({ acked: 0, begun: 0, history: [] }))
  const writers = lanes.map(async (lane, index) => {
    while (!stop) await write(lane, index)
  })

  const until = performance.now() + 4_000
  let whole = 0
  let copied = 0
  while (performance.now() < until) {
    const to = archive(() => (random() < 0.2 ? sleep(random() * 5) : Promise.resolve()))
    const backup = new LiveBackup({ drives, to, buffer: 20 << 20 })
    const done = backup.run()
    await begun(backup)
    // Between the switch and here no time passed for the guest but a turn of the loop: what was acknowledged before is in.
    const bounds = lanes.map(({ acked, begun }) => ({ acked: Math.max(0, acked - 1), begun: begun + 1 }))
    if (random() < 0.3) setTimeout(() => backup.abort(new VmapipeError('ABORTED', 'chance')), random() * 60)
    try {
      await done
    } catch (error) {
      if (error instanceof VmapipeError && error.code === 'ABORTED') continue
      throw error
    }
    whole++
    const { clusters } = backup.status
    copied += clusters.copied
    assert.equal(clusters.scanned + clusters.copied, clusters.total)
    assert.equal(
      clusters.total,
      names.reduce((sum, name) => sum + clusterCount(disks[name].size), 0),
    )
    const images = await imagesOf(to.bytes())
    for (const [index, lane] of lanes.entries()) assertInstant(index, lane, bounds[index], images, original)
  }
  stop = true
  await Promise.all(writers)
  assert.ok(whole >= 2 && copied > 0, `${whole} backups came to an end, with ${copied} copies`)
})

/** There is one m so that the images hold exactly the lane's requests 1..m, whole. */
function assertInstant(
  index: number,
  { history }: Lane,
  { acked, begun }: { acked: number; begun: number },
  images: Map<string, Buffer>,
  original: Map<string, Buffer>,
): void {
  const states = new Map<string, { request: number; value: number | null; length: number }[]>()
  for (const { request, name, offset, length, value } of history) {
    const key = `${name} ${offset}`
    const list = states.get(key) ?? [{ request: 0, value: null, length }]
    list.push({ request, value, length })
    states.set(key, list)
  }
  // Each sector allows the m from the request that wrote what it holds to the one before the next.
  let possible = Array.from({ length: begun - acked + 1 }, (_, at) => acked + at)
  for (const [key, list] of states) {
    const [name, at] = key.split(' ')
    const offset = Number(at)
    const found = images.get(name)!.subarray(offset, offset + list[0].length)
    possible = possible.filter((m) => {
      const { value } = list.findLast(({ request }) => request <= m)!
      const wanted =
        value === null ? original.get(name)!.subarray(offset, offset + found.length) : Buffer.alloc(found.length, value)
      return found.equals(wanted)
    })
    assert.ok(
      possible.length > 0,
      `lane ${index}: drive ${name}, byte ${offset} is not of the point in time (${acked} to ${begun})`,
    )
  }
}
