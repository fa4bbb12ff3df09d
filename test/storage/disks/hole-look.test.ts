import assert from 'node:assert/strict'
import { closeSync, openSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { HoleLook } from '../../../src/storage/disks/hole-look.ts'
import { openRawDisk } from '../../../src/storage/disks/raw-disk.ts'
import { isRemote } from '../../../src/storage/local-filesystems.ts'
import { tmpDir } from '../../support/tmp.ts'

const MiB = 1 << 20

/** A MiB of data, then a hole. */
function thin(t: TestContext): { path: string; fd: number } {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, Buffer.alloc(MiB, 'x'))
  truncateSync(path, 8 * MiB)
  const fd = openSync(path, 'r')
  t.after(() => closeSync(fd))
  return { path, fd }
}

/** What is said without another thread: on a busy machine a call may seem to take long, and the next one goes there. */
function atOnce(fd: number, offset: number): boolean | null {
  const answers = Array.from({ length: 10 }, () => new HoleLook(fd, false).isHole(offset, MiB))
  return answers.find((answer) => typeof answer === 'boolean') ?? null
}

describe('looking for holes beside a guest', { timeout: 180_000 }, () => {
  test('is done at once on a filesystem of this machine', (t) => {
    const { fd } = thin(t)
    assert.equal(atOnce(fd, 0), false)
    assert.equal(atOnce(fd, 4 * MiB), true)
  })

  test('goes to another thread where the kernel may have to ask somebody, or zeroes are being written', async (t) => {
    const { fd } = thin(t)
    const remote = new HoleLook(fd, true)
    const answers = [remote.isHole(0, MiB), remote.isHole(4 * MiB, MiB), remote.isHole(4 * MiB, 4 * MiB)]
    assert.ok(answers.every((answer) => answer instanceof Promise))
    assert.deepEqual(await Promise.all(answers), [false, true, true])
    const look = new HoleLook(fd, false)
    await look.duringZeroing(async () => {
      const answer = look.isHole(0, MiB)
      assert.ok(answer instanceof Promise)
      assert.equal(await answer, false)
    })
    assert.equal(atOnce(fd, 0), false)
  })

  test('zeroes leave threads to others: few are written at once, and all are in the end', async (t) => {
    const { fd } = thin(t)
    const looks = [new HoleLook(fd, false), new HoleLook(fd, false)]
    let [running, most, done] = [0, 0, 0]
    const work = async () => {
      most = Math.max(most, ++running)
      await sleep(5)
      running--
      done++
      if (done % 3 === 0) throw new Error('the disk is full')
    }
    await Promise.allSettled(Array.from({ length: 30 }, (_, index) => looks[index % 2].duringZeroing(work)))
    assert.deepEqual([most, done], [3, 30])
    assert.equal(await looks[0].isHole(0, MiB), false)
  })

  test('a file that has shrunk is told of, in either way', async (t) => {
    const { path, fd } = thin(t)
    truncateSync(path, MiB)
    assert.throws(() => new HoleLook(fd, false).isHole(4 * MiB, MiB), /shrunk/)
    await assert.rejects(async () => new HoleLook(fd, true).isHole(4 * MiB, MiB), /shrunk/)
  })

  test('a disk waits for it before it closes', async (t) => {
    const disk = await openRawDisk(thin(t).path)
    const zeroing = disk.zero(2 * MiB, MiB)
    const hole = disk.isHole!(4 * MiB, MiB)
    const closed = disk.close()
    assert.equal(await hole, true)
    await Promise.all([zeroing, closed])
  })

  test('NFS, FUSE, SMB and what nobody knows may keep a caller waiting', () => {
    for (const type of [0x6969, 0x65735546, 0xff534d42, 0x517b, 0x794c7630, 1]) assert.equal(isRemote(type), true)
    for (const type of [0xef53, 0x58465342, 0x01021994]) assert.equal(isRemote(type), false)
  })
})
