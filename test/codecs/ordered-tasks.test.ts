import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { OrderedTasks } from '../../src/codecs/ordered-tasks.ts'
import { Lease } from '../../src/core/budget.ts'
import { Chunk } from '../../src/core/items.ts'

const timeout = 60_000

function chunk(number: number, free = () => {}): Chunk {
  return new Chunk([Buffer.from([number])], [new Lease(1, free)])
}

test('results go on in the order in which the work was begun', { timeout }, async () => {
  const seen: number[] = []
  const order = new OrderedTasks(5, ({ buffers }) => seen.push(buffers[0][0]))
  for (let number = 0; number < 50; number++) {
    await order.add(() => sleep((number * 7) % 11).then(() => chunk(number)))
  }
  await order.drain()
  assert.deepEqual(
    seen,
    Array.from({ length: 50 }, (_, number) => number),
  )
})

test('no more work is under way than allowed', { timeout }, async () => {
  const order = new OrderedTasks(3, () => {})
  let underWay = 0
  let most = 0
  for (let number = 0; number < 20; number++) {
    const work = async () => {
      most = Math.max(most, ++underWay)
      await sleep(number % 3)
      underWay--
      return chunk(number)
    }
    await order.add(work)
  }
  await order.drain()
  assert.equal(most, 3)
})

test('a check runs after everything that was begun before it', { timeout }, async () => {
  const seen: string[] = []
  const order = new OrderedTasks(9, () => seen.push('chunk'))
  await order.add(() => sleep(5).then(() => chunk(1)))
  order.afterwards(() => seen.push('check'))
  await order.pass(chunk(2))
  await order.drain()
  assert.deepEqual(seen, ['chunk', 'check', 'chunk'])
})

test('after an error nothing goes on, and what was ready is released', { timeout }, async () => {
  const seen: number[] = []
  let released = 0
  const order = new OrderedTasks(9, ({ buffers }) => seen.push(buffers[0][0]))
  await order.pass(chunk(1))
  await order.add(() => sleep(5).then(() => Promise.reject(new Error('broken'))))
  await order.pass(chunk(3, () => released++))
  await assert.rejects(order.drain(), { message: 'broken' })
  await assert.rejects(order.pass(chunk(4, () => released++)), { message: 'broken' })
  await turn()
  assert.deepEqual([seen, released], [[1], 2])
})

test('the error of a check is thrown, and the chunk it looked at is released', { timeout }, async () => {
  let released = 0
  const order = new OrderedTasks(9, () => assert.fail('it went on'))
  const refuse = () => {
    throw new Error('refused')
  }
  await order.pass(
    chunk(1, () => released++),
    refuse,
  )
  await assert.rejects(order.drain(), { message: 'refused' })
  assert.equal(released, 1)
})

test('stopping waits for the work under way', { timeout }, async () => {
  let done = false
  const order = new OrderedTasks(9, () => assert.fail('it went on'))
  const work = async () => {
    await sleep(20)
    done = true
    return chunk(1)
  }
  await order.add(work)
  await order.stop(new Error('stopped'))
  assert.equal(done, true)
})
