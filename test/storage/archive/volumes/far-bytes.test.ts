import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { FarVolumeBytes } from '../../../../src/storage/archive/volumes/far-bytes.ts'
import { seed, seeded } from '../../../support/random.ts'

const limited = { timeout: 60_000 }

/** Volumes in memory that count how many of them are open. */
function inMemory(sizes: readonly number[], fails: () => boolean = () => false) {
  const data = randomBytes(sizes.reduce((sum, size) => sum + size, 0))
  let start = 0
  const volumes = sizes.map((size) => {
    start += size
    return { size, bytes: data.subarray(start - size, start) }
  })
  const count = { open: 0, most: 0, opened: 0 }
  const bytes = new FarVolumeBytes(volumes, async ({ size, bytes }) => {
    count.opened++
    count.open++
    count.most = Math.max(count.most, count.open)
    await new Promise(setImmediate)
    if (fails()) {
      count.open--
      throw new Error('no route to host')
    }
    let isClosed = false
    return {
      size,
      async read(buffer: Uint8Array, offset: number) {
        await new Promise(setImmediate)
        assert.ok(!isClosed, 'a volume is closed while it is read')
        buffer.set(bytes.subarray(offset, offset + buffer.byteLength))
      },
      async close() {
        if (!isClosed) count.open--
        isClosed = true
      },
    }
  })
  return { data, bytes, count }
}

test(`reads all over 30 volumes overlap, and at most four volumes are open (seed ${seed})`, limited, async () => {
  const random = seeded(seed)
  const below = (most: number) => Math.floor(random() * most)
  const sizes = Array.from({ length: 30 }, () => (below(5) === 0 ? 0 : below(3000)))
  const { data, bytes, count } = inMemory(sizes)
  assert.equal(bytes.size, data.length)
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        const offset = below(data.length)
        const buffer = Buffer.alloc(below(Math.min(9000, data.length - offset)))
        await bytes.read(buffer, offset)
        assert.ok(buffer.equals(data.subarray(offset, offset + buffer.length)))
      }),
    )
  }
  assert.ok(count.most <= 4 && count.most > 1, `${count.most} were open`)
  await bytes.close()
  assert.equal(count.open, 0)
})

test('volumes that are read in turn stay open, and a failure to open one is not kept', limited, async () => {
  let fails = true
  const { data, bytes, count } = inMemory([1000, 1000, 1000, 1000, 1000], () => fails)
  const buffer = Buffer.alloc(1500)
  const reads = Array.from({ length: 8 }, (_, index) => bytes.read(Buffer.alloc(1500), index * 400))
  for (const read of await Promise.allSettled(reads)) assert.equal(read.status, 'rejected')
  assert.equal(count.open, 0)
  fails = false
  count.opened = 0
  for (let round = 0; round < 10; round++) await bytes.read(buffer, 500 + 1000 * (round % 3))
  assert.ok(buffer.equals(data.subarray(500, 2000)))
  assert.equal(count.opened, 4)
  await bytes.close()
})

test('closing ends reads that wait for a volume, and those that come later', limited, async () => {
  const { bytes, count } = inMemory(Array.from({ length: 10 }, () => 1000))
  const reads = Array.from({ length: 10 }, (_, index) => bytes.read(Buffer.alloc(10), index * 1000))
  await Promise.all([bytes.close(), bytes.close()])
  const ended = await Promise.allSettled(reads)
  assert.ok(ended.some(({ status }) => status === 'rejected'))
  assert.equal(count.open, 0)
  await assert.rejects(bytes.read(Buffer.alloc(10), 0), { code: 'FAILED', message: /is closed/ })
})
