import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../../src/core/geometry.ts'
import { definePipeline } from '../../../src/core/pipeline.ts'
import { footprintOf, namesIn } from '../../../src/live/qemu/attachment/footprint.ts'
import { GuardedPush } from '../../../src/live/qemu/attachment/guarded-push.ts'
import { PlainPush } from '../../../src/live/qemu/attachment/plain-push.ts'
import { PushBackup } from '../../../src/live/qemu/push-backup.ts'
import { PushServer } from '../../../src/live/qemu/push-server.ts'
import { clusterSource } from '../../../src/stages/cluster-source.ts'
import { sink } from '../../../src/stages/sink.ts'
import { vmaFramer } from '../../../src/stages/vma-framer.ts'
import { writeInterceptor } from '../../../src/stages/write-interceptor.ts'
import { zeroElider } from '../../../src/stages/zero-elider.ts'
import { lateness } from '../../support/lateness.ts'
import { needsQemu, QEMU_BUILDS, type QemuBuild } from '../../support/qemu-builds.ts'
import { seed, seeded } from '../../support/random.ts'
import { imagesOf } from '../images.ts'
import { type DaemonDrives, RandomWriter, startDaemonDrives } from './storage-daemon.ts'

const timeout = 60_000

/** A sink that keeps everything, and awaits `pace` before each write. */
function archiveSink(pace: () => Promise<unknown> = async () => {}) {
  const parts: Buffer[] = []
  const stream = new Writable({
    write(data, _, done) {
      parts.push(Buffer.from(data))
      pace().then(() => done(), done)
    },
  })
  return Object.assign(stream, { bytes: () => Buffer.concat(parts) })
}

interface RunOptions {
  to: Writable
  mode?: 'guarded' | 'push'
  buffer?: number
  maxStall?: number
  writes?: boolean
  signal?: AbortSignal
  cut?: string
}

async function backUp(t: TestContext, setUp: DaemonDrives, random: () => number, options: RunOptions) {
  const { connection, drives, guest } = setUp
  const { to, mode = 'guarded', buffer = 32 << 20, maxStall = 20_000, writes = true, signal, cut } = options
  const server = await PushServer.create()
  t.after(() => server.close())
  const { pushSocket, pullSocket } = server
  const attachment =
    mode === 'guarded'
      ? new GuardedPush({ drives, guest, pushSocket, pullSocket, timeout: 30 })
      : new PlainPush({ drives, pushSocket })
  const backup = new PushBackup({ drives, connection, attachment, maxStall, cut })
  await server.offer(backup.targets)
  const writer = new RandomWriter(pullSocket, writes && mode === 'guarded' ? drives : [], random)
  const remove = attachment.remove.bind(attachment)
  attachment.remove = async (qmp) => {
    await writer.settled()
    await remove(qmp)
  }
  const signals = [backup.signal, ...(signal ? [signal] : [])]
  const done = definePipeline([
    clusterSource({ drives: backup.readers }),
    writeInterceptor({ guest: backup.guest }),
    zeroElider(),
    vmaFramer(),
    sink({ to }),
  ]).run({ buffer, signal: AbortSignal.any(signals) })
  const outcome = await done.then(
    ({ leaked }) => ({ leaked, error: null }),
    (error) => ({ leaked: 0, error }),
  )
  writer.stop()
  await writer.ended
  await server.close()
  return { ...outcome, backup, writer }
}

async function assertAsBefore({ drives, before }: DaemonDrives, archive: Buffer): Promise<void> {
  const images = await imagesOf(archive)
  for (const [index, { name }] of drives.entries()) {
    const image = images.get(name)!
    assert.equal(image.length, before[index].length)
    const at = image.equals(before[index]) ? -1 : image.findIndex((byte, offset) => byte !== before[index][offset])
    assert.equal(at, -1, `${name} differs from byte ${at} on (cluster ${Math.floor(at / CLUSTER_SIZE)})`)
  }
}

const SIZES: Record<string, number[]> = {
  'one drive': [80 * CLUSTER_SIZE],
  'drives of odd sizes': [100 * CLUSTER_SIZE + 1536, 70 * CLUSTER_SIZE - 512, 512, CLUSTER_SIZE + 4096],
  'eight drives': Array.from({ length: 8 }, (_, index) => (8 + 3 * index) * CLUSTER_SIZE + 512 * index),
}

describe(`the storage daemon (seed ${seed})`, { concurrency: QEMU_BUILDS.length }, () => {
  for (const build of QEMU_BUILDS) {
    describe(`of ${build.name}`, { concurrency: 1, ...needsQemu(build, 'qemu-storage-daemon') }, () => {
      describe('guarded push, with a guest that writes all the time', () => guardedPush(build))
      describe('plain push', () => plainPush(build))
    })
  }
})

function guardedPush(build: QemuBuild): void {
  for (const [what, sizes] of Object.entries(SIZES)) {
    test(`of ${what}: the archive is the point in time`, { timeout }, async (t) => {
      const random = seeded(seed)
      const drives = await startDaemonDrives(t, build, sizes, random)
      const to = archiveSink(() => sleep(2))
      const { error, leaked, writer, backup } = await backUp(t, drives, random, { to })
      assert.equal(error, null)
      assert.equal(leaked, 0)
      await assertAsBefore(drives, to.bytes())
      const { clusters } = backup.status
      assert.equal(clusters.scanned + clusters.copied, clusters.total)
      assert.ok(writer.requests > 0, 'the guest wrote')
      assert.deepEqual(namesIn(await footprintOf(drives.connection.qmp)), [])
    })
  }

  test('of a large drive, so that writes and reads meet: the archive is the point in time', { timeout }, async (t) => {
    const random = seeded(seed + 1)
    const drives = await startDaemonDrives(t, build, [800 * CLUSTER_SIZE, 300 * CLUSTER_SIZE + 512], random)
    const to = archiveSink(() => sleep(5))
    const { error, backup } = await backUp(t, drives, random, { to, buffer: 24 << 20 })
    assert.equal(error, null)
    await assertAsBefore(drives, to.bytes())
    assert.ok(backup.status.clusters.copied > 50, 'the guest was there before the scan')
  })

  test('that fails at any moment leaves no error to the guest, and nothing behind', { timeout }, async (t) => {
    const random = seeded(seed + 2)
    const drives = await startDaemonDrives(t, build, [200 * CLUSTER_SIZE + 512, 50 * CLUSTER_SIZE], random)
    for (let round = 0; round < 8; round++) {
      let left = Math.floor(random() * 6 * 2 ** 20)
      const broken = new Writable({
        write(data, _, done) {
          left -= data.length
          setTimeout(() => done(left < 0 ? new Error('the disk is full') : null), 2)
        },
      })
      const { error } = await backUp(t, drives, random, { to: broken })
      assert.match(String(error), /the disk is full/)
      assert.deepEqual(namesIn(await footprintOf(drives.connection.qmp)), [])
    }
  })

  test('that is aborted at any moment leaves no error to the guest, and nothing behind', { timeout }, async (t) => {
    const random = seeded(seed + 3)
    const drives = await startDaemonDrives(t, build, [200 * CLUSTER_SIZE + 512, 50 * CLUSTER_SIZE], random)
    for (let round = 0; round < 8; round++) {
      const to = archiveSink(() => sleep(20))
      await backUp(t, drives, random, { to, signal: AbortSignal.timeout(Math.floor(random() * 150)) })
      assert.deepEqual(namesIn(await footprintOf(drives.connection.qmp)), [])
    }
  })

  test('whose target hangs: no write waits longer than is allowed', { timeout }, async (t) => {
    const random = seeded(seed + 4)
    const drives = await startDaemonDrives(t, build, [800 * CLUSTER_SIZE], random)
    const to = archiveSink(() => new Promise(() => {}))
    const late = lateness()
    const cut = 'QEMU lets nothing wait for longer'
    const { error, writer } = await backUp(t, drives, random, { to, buffer: 16 << 20, maxStall: 1000, cut })
    assert.match(String(error), /has waited \d+ ms for the archive, 1000 are allowed: the backup was given up/)
    assert.equal(error.hint, `a faster target or a larger --buffer; ${cut}`)
    assert.ok(writer.longest < 1500 + late(), `a write took ${writer.longest} ms`)
    assert.ok(writer.longest > 500, 'a write waited')
  })

  test('whose QEMU is killed says so', { timeout }, async (t) => {
    const random = seeded(seed + 5)
    const drives = await startDaemonDrives(t, build, [200 * CLUSTER_SIZE], random)
    const to = archiveSink(async () => {
      drives.daemon.child.kill('SIGKILL')
      await sleep(200)
    })
    const { error } = await backUp(t, drives, random, { to })
    assert.match(String(error), /QEMU ended during the backup/)
  })
}

function plainPush(build: QemuBuild): void {
  for (const [what, sizes] of Object.entries(SIZES)) {
    test(`of ${what}: the archive is the point in time`, { timeout }, async (t) => {
      const random = seeded(seed + 6)
      const drives = await startDaemonDrives(t, build, sizes, random)
      const to = archiveSink()
      const { error, leaked } = await backUp(t, drives, random, { to, mode: 'push' })
      assert.equal(error, null)
      assert.equal(leaked, 0)
      await assertAsBefore(drives, to.bytes())
      assert.deepEqual(namesIn(await footprintOf(drives.connection.qmp)), [])
    })
  }

  test('that fails ends its jobs', { timeout }, async (t) => {
    const random = seeded(seed + 7)
    const drives = await startDaemonDrives(t, build, [300 * CLUSTER_SIZE, 50 * CLUSTER_SIZE], random)
    for (let round = 0; round < 5; round++) {
      let left = Math.floor(random() * 6 * 2 ** 20)
      const broken = new Writable({
        write(data, _, done) {
          left -= data.length
          done(left < 0 ? new Error('the disk is full') : null)
        },
      })
      const { error } = await backUp(t, drives, random, { to: broken, mode: 'push' })
      assert.match(String(error), /the disk is full/)
      assert.deepEqual(namesIn(await footprintOf(drives.connection.qmp)), [])
    }
  })
}
