import assert from 'node:assert/strict'
import { closeSync, openSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { HoleLook } from '../../../src/storage/disks/hole-look.ts'
import { openRawDisk } from '../../../src/storage/disks/raw-disk.ts'
import { isRemote } from '../../../src/storage/holes.ts'
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

describe('looking for holes beside a guest', { timeout: 10_000 }, () => {
  test('is done at once on a filesystem of this machine', (t) => {
    const look = new HoleLook(thin(t).fd, false)
    assert.equal(look.isHole(0, MiB), false)
    assert.equal(look.isHole(4 * MiB, MiB), true)
  })

  test('goes to another thread where the kernel may have to ask somebody, or zeroes are being written', async (t) => {
    const { fd } = thin(t)
    const remote = new HoleLook(fd, true)
    const answers = [remote.isHole(0, MiB), remote.isHole(4 * MiB, MiB), remote.isHole(4 * MiB, 4 * MiB)]
    assert.ok(answers.every((answer) => answer instanceof Promise))
    assert.deepEqual(await Promise.all(answers), [false, true, true])
    const look = new HoleLook(fd, false)
    await look.duringZeroing(async () => assert.ok(look.isHole(0, MiB) instanceof Promise))
    assert.equal(look.isHole(0, MiB), false)
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
    for (const type of [0x6969, 0x65735546, 0xff534d42, 0x517b, 1]) assert.equal(isRemote(type), true)
    for (const type of [0xef53, 0x58465342, 0x01021994]) assert.equal(isRemote(type), false)
  })
})
