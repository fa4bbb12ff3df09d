import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RangeLock } from '../../src/core/range-lock.ts'

test('an exclusive holder shares its range with nobody, others share theirs, and ranges apart do not wait', async () => {
  const lock = new RangeLock()
  const order: string[] = []
  const hold = async (name: string, start: number, end: number, exclusive: boolean) => {
    const leave = await lock.enter(start, end, exclusive)
    order.push(name)
    return leave
  }
  const first = await hold('shared', 0, 100, false)
  const second = await hold('shared too', 50, 150, false)
  const waiting = hold('exclusive', 90, 110, true)
  await hold('elsewhere', 200, 300, true)
  await hold('right beside', 150, 160, true)
  first()
  await new Promise(setImmediate)
  assert.deepEqual(order, ['shared', 'shared too', 'elsewhere', 'right beside'])
  second()
  const third = await waiting
  const behind = hold('behind it', 100, 101, false)
  await new Promise(setImmediate)
  assert.equal(order.at(-1), 'exclusive')
  third()
  await behind
  assert.equal(order.at(-1), 'behind it')
})

test('is idle when all that was held has been given back', async () => {
  const lock = new RangeLock()
  const leave = await lock.enter(0, 10, true)
  let isIdle = false
  const idle = lock.idle().then(() => {
    isIdle = true
  })
  await new Promise(setImmediate)
  assert.equal(isIdle, false)
  leave()
  await idle
})
