import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { describe, test } from 'node:test'
import { extentsByStep, fileExtents } from '../../src/storage/holes.ts'
import { SEEK_DATA, SEEK_END, SEEK_HOLE } from '../../src/system/syscalls.ts'
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

describe('step by step', () => {
  const KIB = 1024
  /** A file of 8 MiB with data in these ranges. */
  const file = (ranges: [number, number][]) =>
    calls((offset, whence) => {
      if (whence === SEEK_END) return 8192 * KIB
      assert.notEqual(whence, SEEK_HOLE, 'nobody looks for a hole')
      for (const [from, to] of ranges) if (offset < to) return Math.max(offset, from)
      return -constants.errno.ENXIO
    })
  const extents = async (ranges: [number, number][], offset = 0, length = 8192 * KIB) =>
    (await collect(extentsByStep(3, offset, length, file(ranges)))).map(
      ({ offset, length, zero }) => `${offset / KIB}+${length / KIB}${zero ? ' zero' : ''}`,
    )

  test('data ends with its cluster, and comes in pieces of a MiB', async () => {
    assert.deepEqual(await extents([[100 * KIB, 2100 * KIB]]), [
      '0+100 zero',
      '100+924',
      '1024+1024',
      '2048+64',
      '2112+6080 zero',
    ])
  })

  test('a hole within a cluster is data, one of a whole cluster is none', async () => {
    const ranges: [number, number][] = [
      [0, 10 * KIB],
      [20 * KIB, 60 * KIB],
      [128 * KIB, 132 * KIB],
    ]
    assert.deepEqual(await extents(ranges), ['0+64', '64+64 zero', '128+64', '192+8000 zero'])
  })

  test('any range, and no byte outside of it', async () => {
    assert.deepEqual(await extents([[0, 8192 * KIB]], 70 * KIB, 3 * KIB), ['70+3'])
    assert.deepEqual(await extents([[0, 70 * KIB]], 60 * KIB, 100 * KIB), ['60+68', '128+32 zero'])
  })

  test('where nobody can tell, all of it is data', async () => {
    for (const cannot of [null, calls(() => -constants.errno.EINVAL)]) {
      const all = await collect(extentsByStep(3, 100, 2 << 20, cannot))
      assert.ok(all.every(({ zero }) => !zero))
      assert.equal(
        all.reduce((sum, { length }) => sum + length, 0),
        2 << 20,
      )
    }
  })
})
