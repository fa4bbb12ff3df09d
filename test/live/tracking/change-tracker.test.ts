/** A tracked drive whose folder of marks fails. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { GuestDrive } from '../../../src/live/guest-drive.ts'
import type { ChangeTracker } from '../../../src/live/tracking/change-tracker.ts'
import { TrackFile } from '../../../src/live/tracking/track-file.ts'
import { opened } from '../../../src/live/tracking/tracking.ts'
import { lateness } from '../../support/lateness.ts'
import { MemoryDisk } from '../../support/memory-disk.ts'
import { LossyStore } from './stores.ts'

const MiB = 2 ** 20
const SIZE = 8 * MiB
const BLOCK = [Buffer.alloc(4096, 1)]

class Rig {
  readonly warnings: string[] = []
  store: LossyStore
  readonly disk = new MemoryDisk(SIZE)
  tracker!: ChangeTracker
  drive!: GuestDrive

  constructor(content?: Buffer) {
    this.store = new LossyStore(undefined, content)
  }

  async open(): Promise<this> {
    const drive = { name: 'a', disk: { size: SIZE }, soleWriter: true }
    this.tracker = await opened(new TrackFile(this.store), drive, (warning) => this.warnings.push(warning))
    this.drive = new GuestDrive(this.disk, this.tracker)
    return this
  }

  /** A backup of this uuid, at once. */
  async backUp(uuid: string, since: string | null = null) {
    return (await this.drive.nextGeneration(uuid, since)).begin()
  }
}

function changedOf(changes: Awaited<ReturnType<Rig['backUp']>>): number {
  assert.ok('clusters' in changes, JSON.stringify(changes))
  return changes.clusters.count / 16
}

function reasonOf(changes: Awaited<ReturnType<Rig['backUp']>>): string {
  assert.ok('unknown' in changes)
  return changes.unknown
}

describe('a tracked drive', () => {
  test('syncs once for the first write to a region, and for many first writes at once', async () => {
    const { store, drive, ...rig } = await new Rig().open()
    await drive.nextGeneration('a', null).then((next) => next.begin())
    await drive.write(BLOCK, 0)
    await sleep(20)
    const before = store.syncs
    for (let count = 0; count < 100; count++) await drive.write(BLOCK, count * 4096)
    assert.equal(store.syncs, before)
    await Promise.all([1, 2, 3, 4, 5, 6].map((region) => drive.write(BLOCK, region * MiB)))
    assert.ok(store.syncs - before <= 2, `${store.syncs - before} syncs`)
    assert.deepEqual(rig.warnings, [])
  })

  test('says before the first write to a region is carried out until when its mark holds, however slow the marks are', async () => {
    const { store, drive, disk } = await new Rig().open()
    await drive.nextGeneration('a', null).then((next) => next.begin())
    const { use } = (await new TrackFile(store).readHead())!
    const { datasync } = store
    store.datasync = async () => {
      await sleep(400)
      await datasync.call(store)
    }
    let held = 0
    const { write } = disk
    disk.write = async (...what) => {
      held = (await new TrackFile(store).readUntil(use)).killed
      assert.ok(held >= Date.now(), `it held until ${Date.now() - held} ms ago`)
      return write.apply(disk, what)
    }
    await drive.write(BLOCK, 0)
    assert.ok(held > 0)
  })

  test('marks nothing before the first backup', async () => {
    const { store, drive } = await new Rig().open()
    const before = store.syncs
    await drive.write(BLOCK, 0)
    assert.equal(store.syncs, before)
  })

  test('two targets have changes of their own', async () => {
    const rig = await new Rig().open()
    await rig.backUp('weekly')
    await rig.drive.write(BLOCK, 0)
    await rig.backUp('monday')
    await rig.drive.write(BLOCK, MiB)
    assert.equal(changedOf(await rig.backUp('tuesday', 'monday')), 1)
    assert.equal(changedOf(await rig.backUp('weekly2', 'weekly')), 2)
    assert.equal(changedOf(await rig.backUp('wednesday', 'tuesday')), 0)
  })

  test('a uuid that was used twice means the older archive', async () => {
    const rig = await new Rig().open()
    await rig.backUp('same')
    await rig.drive.write(BLOCK, 0)
    await rig.backUp('same')
    await rig.drive.write(BLOCK, MiB)
    assert.equal(changedOf(await rig.backUp('next', 'same')), 2)
  })
})

describe('if a mark cannot be written', { concurrency: true }, () => {
  test('the guest writes on, the next backup reads everything, and the one after it knows again', async () => {
    const rig = await new Rig().open()
    await rig.backUp('a')
    rig.store.breaksOnce = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    await rig.drive.write(BLOCK, 0)
    await rig.drive.write(BLOCK, MiB)
    assert.match(rig.warnings.join(), /not tracked any more.*no space left/)
    assert.match(reasonOf(await rig.backUp('b', 'a')), /no space left/)
    await rig.drive.write(BLOCK, 2 * MiB)
    assert.equal(changedOf(await rig.backUp('c', 'b')), 1)
  })

  test('and not even that can be noted, the write waits until the marks have run out', {
    timeout: 30_000,
  }, async () => {
    const rig = await new Rig().open()
    await rig.backUp('a')
    await rig.drive.write(BLOCK, 0)
    await sleep(20)
    const late = lateness()
    rig.store.broken = new Error('input/output error')
    const [begun, before] = [performance.now(), rig.store.fail()]
    // A region that is marked does not wait.
    await rig.drive.write(BLOCK, 4096)
    assert.ok(performance.now() - begun < 1000 + late())
    await rig.drive.write(BLOCK, MiB)
    const waited = performance.now() - begun
    assert.ok(waited > 8000 && waited < 12_000 + late(), `${waited} ms`)
    await rig.drive.write(BLOCK, 2 * MiB)
    assert.ok(performance.now() - begun < waited + 1000 + late())
    assert.match(reasonOf(await rig.backUp('b', 'a')), /input\/output error/)
    // What the file says is the state before, for an image that was not written later than the marks hold.
    const until = await new TrackFile(new LossyStore(undefined, before)).readHead()
    const { failed } = await new TrackFile(new LossyStore(undefined, before)).readUntil(until!.use)
    assert.ok(failed < Date.now(), 'the unmarked write came after that')
  })

  test('a folder that hangs counts as dead', { timeout: 40_000 }, async () => {
    const rig = await new Rig().open()
    await rig.backUp('a')
    rig.store.hangs = true
    const late = lateness()
    const begun = performance.now()
    await rig.drive.write(BLOCK, MiB)
    assert.ok(performance.now() - begun < 12_000 + late())
    assert.match(reasonOf(await rig.backUp('b', 'a')), /has not answered/)
  })
})

test('a flush that fails makes everything unknown', async () => {
  const rig = await new Rig().open()
  await rig.backUp('a')
  rig.disk.flush = async () => {
    throw Object.assign(new Error('input/output error'), { code: 'EIO' })
  }
  await assert.rejects(async () => rig.drive.flush())
  await sleep(20)
  assert.match(reasonOf(await rig.backUp('b', 'a')), /a flush of the drive failed/)
})
