import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { PieceCache, type View } from '../../src/access/piece-cache.ts'
import { Budget } from '../../src/core/budget.ts'

const limits = { timeout: 60_000 }
const PIECE = 1000

interface Rig {
  cache: PieceCache
  budget: Budget
  /** Keys in the order in which they were loaded. */
  loaded: number[]
  /** Most loads that ran at once. */
  most: () => number
  load: (key: number) => () => Promise<View>
}

/** Room for `pieces` of them. */
function rig(pieces: number, parallel = 2): Rig {
  const budget = new Budget(pieces * PIECE)
  const cache = new PieceCache(budget, parallel)
  const loaded: number[] = []
  let [running, most] = [0, 0]
  const load = (key: number) => async () => {
    most = Math.max(most, ++running)
    try {
      const slab = await cache.room(PIECE, (memory) => memory.take(PIECE))
      await new Promise((resolve) => setImmediate(resolve))
      loaded.push(key)
      slab.buffer.fill(key)
      return { bytes: slab.buffer, lease: slab }
    } finally {
      running--
    }
  }
  return { cache, budget, loaded, most: () => most, load }
}

describe('a cache of pieces', limits, () => {
  test('loads what many want once, and not again', async () => {
    const { cache, loaded, load } = rig(4)
    const views = await Promise.all(Array.from({ length: 10 }, () => cache.get(7, load(7))))
    for (const { bytes, lease } of views) {
      assert.equal(bytes[0], 7)
      lease.release()
    }
    const kept = cache.peek(7)!
    assert.equal(kept.bytes[PIECE - 1], 7)
    kept.lease.release()
    assert.deepEqual(loaded, [7])
    assert.equal(cache.peek(8), null)
  })

  test('gives up what was not wanted for the longest time, never what is held', async () => {
    const { cache, loaded, load, budget } = rig(3)
    const take = async (key: number) => (await cache.get(key, load(key))).lease.release()
    const held = await cache.get(1, load(1))
    for (const key of [2, 3, 2, 4, 2, 5, 2]) await take(key)
    assert.deepEqual(loaded, [1, 2, 3, 4, 5])
    assert.equal(held.bytes[0], 1)
    held.lease.release()
    assert.ok(budget.highWater <= 3 * PIECE)
    // It was forgotten while it was held.
    assert.equal(budget.used, 2 * PIECE)
  })

  test('serves more than it has room for, each in its turn, some at once', async () => {
    const { cache, load, budget, most } = rig(2, 3)
    const seen = await Promise.all(
      Array.from({ length: 50 }, async (_, key) => {
        const { bytes, lease } = await cache.get(key, load(key))
        await new Promise((resolve) => setImmediate(resolve))
        const first = bytes[0]
        lease.release()
        return first
      }),
    )
    assert.deepEqual(
      seen,
      Array.from({ length: 50 }, (_, key) => key),
    )
    assert.equal(most(), 3)
    assert.ok(budget.highWater <= 2 * PIECE)
  })

  test('loads in advance only after the pieces that a reader waits for', async () => {
    const { cache, load, loaded } = rig(10, 1)
    cache.ahead([1, 2, 3].map((key) => ({ key, load: load(key) })))
    const { lease } = await cache.get(9, load(9))
    lease.release()
    assert.deepEqual(loaded, [1, 9])
    const last = await cache.get(3, load(3))
    last.lease.release()
    assert.deepEqual(loaded, [1, 9, 2, 3])
    cache.ahead([{ key: 20, load: load(20) }])
    cache.ahead([])
    await cache.close()
    assert.equal(loaded.filter((key) => key === 3).length, 1)
  })

  test('tells everybody of a failure, and tries again', async () => {
    const { cache, load } = rig(2)
    const fail = async () => {
      throw new Error('broken')
    }
    const both = await Promise.allSettled([cache.get(1, fail), cache.get(1, fail)])
    assert.deepEqual(
      both.map(({ status }) => status),
      ['rejected', 'rejected'],
    )
    cache.ahead([{ key: 2, load: fail }])
    const { bytes, lease } = await cache.get(1, load(1))
    assert.equal(bytes[0], 1)
    lease.release()
  })

  test('waits for what is under way when it is closed, and keeps nothing', async () => {
    const { cache, load, budget } = rig(3)
    const held = await cache.get(1, load(1))
    const under = cache.get(2, load(2))
    await cache.close()
    const [outcome] = await Promise.allSettled([under])
    if (outcome.status === 'fulfilled') outcome.value.lease.release()
    held.lease.release()
    assert.equal(budget.used, 0)
    assert.throws(() => cache.get(3, load(3)), /closed/)
  })
})
