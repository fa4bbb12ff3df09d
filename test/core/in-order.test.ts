import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { InOrder } from '../../src/core/in-order.ts'

const timeout = 60_000

function setting() {
  const failures: unknown[] = []
  const { signal } = new AbortController()
  const context = { fail: (error: unknown) => void failures.push(error), signal, underWay: <Work>(work: Work) => work }
  return { order: new InOrder(100, context), failures }
}

const released: number[] = []
const item = (number: number, byteLength = 30) => ({ byteLength, release: () => void released.push(number) })

describe('items that are worked on at the same time', { timeout }, () => {
  test('are passed on in order, at once if nothing is under way', async () => {
    const { order } = setting()
    const seen: number[] = []
    assert.equal(
      order.add(item(0), 0, (value) => void seen.push(value)),
      undefined,
    )
    assert.deepEqual(seen, [0])
    for (let number = 1; number < 30; number++) {
      const work = number % 3 === 0 ? number : sleep((number * 7) % 11).then(() => number)
      await order.add(item(number), work, async (value) => {
        await sleep(number % 2)
        seen.push(value)
      })
    }
    await order.drain()
    assert.deepEqual(
      seen,
      Array.from({ length: 30 }, (_, number) => number),
    )
  })

  test('are bounded by their bytes', async () => {
    const { order } = setting()
    const { promise, resolve } = Promise.withResolvers<number>()
    for (let number = 0; number < 3; number++)
      assert.equal(
        order.add(item(number), promise, () => {}),
        undefined,
      )
    let hasRoom = false
    const room = Promise.resolve(order.add(item(3), promise, () => {})).then(() => {
      hasRoom = true
    })
    await sleep(1)
    assert.equal(hasRoom, false)
    resolve(1)
    await room
    await order.drain()
  })

  test('end with the first error, which is told at once; those behind it are given back', async () => {
    const { order, failures } = setting()
    released.length = 0
    const broken = new Error('broken')
    const seen: number[] = []
    const { promise, resolve } = Promise.withResolvers<number>()
    void order.add(item(0), promise, () => {
      throw broken
    })
    void order.add(item(1), promise, () => void seen.push(1))
    resolve(0)
    await assert.rejects(order.drain(), broken)
    assert.deepEqual([failures, seen, released], [[broken], [], [1]])
    assert.throws(() => order.add(item(2), 2, () => {}), broken)
  })

  test('are given back when they are not wanted any more, after the work on them has ended', async () => {
    const { order, failures } = setting()
    released.length = 0
    const { promise, resolve } = Promise.withResolvers<number>()
    void order.add(item(0), promise, () => assert.fail())
    const closed = order.close(null)
    await sleep(1)
    assert.deepEqual(released, [])
    resolve(0)
    await closed
    assert.deepEqual([released, failures], [[0], []])
  })
})
