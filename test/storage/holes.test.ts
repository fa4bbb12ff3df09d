import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { test } from 'node:test'
import { fileExtents } from '../../src/storage/holes.ts'
import { SEEK_DATA, SEEK_END } from '../../src/storage/syscalls.ts'
import { collect } from './contract.ts'

/** Calls that answer alike whether they come from here or from a thread, and note which. */
function calls(lseek: (offset: number, whence: number) => number) {
  const made = { here: 0, inThreads: 0 }
  return {
    made,
    lseek: (_: number, offset: number, whence: number) => {
      made.here++
      return lseek(offset, whence)
    },
    lseekAsync: async (_: number, offset: number, whence: number) => {
      made.inThreads++
      return lseek(offset, whence)
    },
  }
}

const allData = [{ offset: 100, length: 900, zero: false }]

test('without system calls all of it is data', async () => {
  assert.deepEqual(await collect(fileExtents(3, 100, 900, null)), allData)
})

test('on a filesystem that knows no holes all of it is data', async () => {
  for (const errno of [constants.errno.EINVAL, constants.errno.EOPNOTSUPP]) {
    assert.deepEqual(
      await collect(
        fileExtents(
          3,
          100,
          900,
          calls(() => -errno),
        ),
      ),
      allData,
    )
  }
})

test('a filesystem that makes no progress is not asked for ever', async () => {
  assert.deepEqual(
    await collect(
      fileExtents(
        3,
        100,
        900,
        calls((offset) => offset),
      ),
    ),
    allData,
  )
  assert.deepEqual(
    await collect(
      fileExtents(
        3,
        100,
        900,
        calls(() => 0),
      ),
    ),
    allData,
  )
})

test('any other error is an error, with its place', async () => {
  const failing = calls(() => -constants.errno.EIO)
  await assert.rejects(collect(fileExtents(3, 100, 900, failing)), { code: 'FAILED', where: { offset: 100 } })
})

test('after the last data comes a hole, as long as the file is', async () => {
  const sized = (size: number) => calls((_, whence) => (whence === SEEK_END ? size : -constants.errno.ENXIO))
  assert.deepEqual(await collect(fileExtents(3, 100, 900, sized(1000))), [{ offset: 100, length: 900, zero: true }])
  await assert.rejects(collect(fileExtents(3, 100, 900, sized(999))), { message: /shrunk to 999/ })
})

test('calls that take long are made in threads', async () => {
  const slow = calls((offset, whence) => {
    const until = performance.now() + 4
    while (performance.now() < until);
    return offset + (whence === SEEK_DATA ? 10 : 90)
  })
  const extents = await collect(fileExtents(3, 0, 1000, slow))
  assert.equal(extents.length, 20)
  assert.equal(slow.made.here, 1)
  assert.equal(slow.made.inThreads, 19)
})
