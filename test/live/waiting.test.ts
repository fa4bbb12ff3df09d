import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Progress } from '../../src/live/progress.ts'
import { Waiting } from '../../src/live/waiting.ts'

const timeout = 60_000

describe('waiting for a backup', { timeout }, () => {
  test('counts from when a request was known, also while it waits', () => {
    const waiting = new Waiting()
    const wait = waiting.begin(performance.now() - 5000)
    assert.ok(waiting.figures.max >= 5000)
    assert.equal(waiting.now, 1)
    wait.end()
    wait.end()
    const { count, max, now } = waiting.figures
    assert.deepEqual([count, now], [1, 0])
    assert.ok(max >= 4990)
  })

  test('leaves pauses out', () => {
    const waiting = new Waiting()
    const wait = waiting.begin(performance.now() - 1000)
    wait.pause()
    assert.equal(waiting.now, 0)
    assert.equal(waiting.longest, 0)
    wait.resume()
    assert.ok(waiting.longest >= 1000 && waiting.longest < 2000)
    wait.pause()
    wait.end()
    wait.resume()
    assert.deepEqual([waiting.now, waiting.figures.count], [0, 1])
  })

  test('alarms for the one that has waited longest, whenever it was told of', async () => {
    const waiting = new Waiting()
    const alarm = Promise.withResolvers<number>()
    waiting.begin()
    waiting.watch(10_000, alarm.resolve)
    const since = performance.now() - 9950
    waiting.begin(since)
    assert.ok((await alarm.promise) >= 9950)
  })
})

describe('progress', { timeout }, () => {
  test('alarms once nothing goes on', async () => {
    let number = 0
    const progress = new Progress(() => number)
    const alarms: number[] = []
    progress.watch(1000, (milliseconds) => alarms.push(milliseconds))
    for (let step = 0; step < 8; step++) {
      await sleep(200)
      number++
    }
    assert.deepEqual(alarms, [])
    while (alarms.length === 0) await sleep(20)
    await sleep(400)
    assert.equal(alarms.length, 1)
    assert.ok(alarms[0] >= 1000)
  })

  test('not for the time in which the process was held', async (t) => {
    const limit = 2000
    const progress = new Progress(() => 0)
    const alarms: number[] = []
    progress.watch(limit, (milliseconds) => alarms.push(milliseconds))
    // As after SIGSTOP and SIGCONT: a minute has passed, and one look comes late. What watches the tests would mind an hour.
    const clock = performance.now.bind(performance)
    t.mock.method(performance, 'now', () => clock() + 60_000)
    await sleep(limit / 4 + 50)
    assert.deepEqual(alarms, [])
    while (alarms.length === 0) await sleep(20)
    assert.ok(alarms[0] >= limit && alarms[0] < 60_000)
  })

  test('not when it is watched no more', async () => {
    const progress = new Progress(() => 0)
    let alarms = 0
    progress.watch(20, () => alarms++)
    progress.unwatch()
    await sleep(60)
    assert.equal(alarms, 0)
  })
})
