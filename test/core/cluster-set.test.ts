import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { ClusterSet, PageAllowance } from '../../src/core/cluster-set.ts'

describe('a set of clusters', { timeout: 180_000 }, () => {
  test('behaves like a set, whatever ranges are added', () => {
    const size = 20_000
    const range = fc.tuple(fc.nat(size - 1), fc.integer({ min: 1, max: 9000 }))
    fc.assert(
      fc.property(fc.array(range, { maxLength: 40 }), (ranges) => {
        const set = new ClusterSet(size)
        const model = new Set<number>()
        for (const [first, wanted] of ranges) {
          const count = Math.min(wanted, size - first)
          const clusters = Array.from({ length: count }, (_, index) => first + index)
          const twice = clusters.find((cluster) => model.has(cluster)) ?? -1
          assert.equal(set.addRange(first, count), twice)
          if (twice < 0) for (const cluster of clusters) model.add(cluster)
          assert.equal(set.count, model.size)
        }
        const missing = Array.from({ length: size }, (_, index) => index).find((cluster) => !model.has(cluster)) ?? -1
        assert.equal(set.firstMissing(), missing)
        for (const present of [true, false]) {
          const covered = [...set.ranges(present)].flatMap(({ first, count }, index, all) => {
            assert.ok(index === 0 || first > all[index - 1].first + all[index - 1].count, 'ranges do not touch')
            return Array.from({ length: count }, (_, at) => first + at)
          })
          assert.deepEqual(
            covered,
            Array.from({ length: size }, (_, index) => index).filter((cluster) => model.has(cluster) === present),
          )
        }
      }),
      { interruptAfterTimeLimit: 5_000, numRuns: 200 },
    )
  })

  test('takes the largest drive in little memory when it comes in order', () => {
    const set = new ClusterSet(2 ** 32)
    const step = 4096 * 1024
    for (let first = 0; first < 2 ** 32; first += step) assert.equal(set.addRange(first, step), -1)
    assert.equal(set.firstMissing(), -1)
    assert.equal(set.addRange(2 ** 32 - 1, 1), 2 ** 32 - 1)
  })

  test('gives up on an archive that is made to fill the memory', () => {
    const set = new ClusterSet(2 ** 32)
    assert.throws(
      () => {
        for (let cluster = 0; cluster < 2 ** 32; cluster += 4096) set.addRange(cluster, 1)
      },
      { code: 'DAMAGED' },
    )
  })

  test('gives up no later where there are many drives of them', () => {
    const allowance = new PageAllowance()
    const sets = Array.from({ length: 254 }, () => new ClusterSet(2 ** 32, allowance))
    let pages = 0
    const scatter = () => {
      for (let cluster = 0; cluster < 2 ** 32; cluster += 4096)
        for (const set of sets) {
          set.addRange(cluster, 1)
          pages++
        }
    }
    assert.throws(scatter, { code: 'DAMAGED' })
    assert.ok(pages <= 200_000, `${pages} pages`)
  })
})

test('what is missing of the largest drives is found at once, however scattered', { timeout: 60_000 }, () => {
  const set = new ClusterSet(2 ** 32)
  for (let index = 0; index < 150_000; index++) set.addRange(index * 28_000 + 17, 1)
  let [missing, ranges] = [0, 0]
  for (const { count } of set.ranges(false)) {
    missing += count
    ranges++
  }
  assert.deepEqual([missing, ranges], [2 ** 32 - 150_000, 150_001])
  const empty = new ClusterSet(2 ** 32)
  assert.deepEqual([...empty.ranges(false)], [{ first: 0, count: 2 ** 32 }])
})

test('whether all of a range is there, as if it were asked for each', () => {
  const set = new ClusterSet(20_000)
  for (const [first, count] of [
    [0, 4096],
    [4096, 100],
    [4200, 3992],
    [8192, 4096],
    [12_300, 33],
  ])
    set.addRange(first, count)
  for (const first of [0, 1, 31, 4090, 4096, 4150, 4195, 4196, 4200, 8191, 12_287, 12_300, 12_301])
    for (const count of [0, 1, 2, 31, 32, 33, 64, 4096, 5000]) {
      const each = Array.from({ length: count }, (_, index) => set.has(first + index)).every(Boolean)
      assert.equal(set.hasRange(first, count), each, `${first}+${count}`)
    }
})

test('a range of which some are there already is added as a whole', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(12_000), fc.nat(9000)), { maxLength: 6 }), (ranges) => {
      const set = new ClusterSet(21_000)
      const model = new Set<number>()
      for (const [first, count] of ranges) {
        set.include(first, count)
        for (let cluster = first; cluster < first + count; cluster++) model.add(cluster)
      }
      assert.equal(set.count, model.size)
      for (const { first, count } of set.ranges())
        for (let cluster = first; cluster < first + count; cluster++) assert.ok(model.has(cluster))
    }),
    { numRuns: 50 },
  )
})
