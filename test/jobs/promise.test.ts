import assert from 'node:assert/strict'
import { test } from 'node:test'
import { promiseOf } from '../../src/jobs/promise.ts'
import { needs } from '../support/tools.ts'

const HOUR = 3600
const at = (text: string) => new Date(text).getTime()
const saturday = at('2026-11-28T12:00:00')
const of = (...schedule: string[]) => promiseOf({ schedule, promise: undefined }, saturday)

test('a job promises one and a half of the longest interval of its schedule', async () => {
  assert.equal(await of('30 1 * * *'), 36 * HOUR)
  assert.equal(await of('@hourly'), 1.5 * HOUR)
  // No backup on Sunday: 48 hours from Saturday to Monday.
  assert.equal(await of('30 1 * * 1-6'), 72 * HOUR)
  assert.equal(await of('0 3 1 * *'), 1.5 * 31 * 24 * HOUR)
  // The weekend is there although thousands of times are before it.
  assert.equal(
    await promiseOf({ schedule: ['*/5 * * * 1-5'], promise: undefined }, at('2026-11-30T00:01:00')),
    1.5 * (48 * HOUR + 300),
  )
})

test('several schedules are one', async () => {
  assert.equal(await of('0 1 * * *', '0 13 * * *'), 18 * HOUR)
})

test('the job file may say it, and without a schedule nothing is promised', async () => {
  assert.equal(await promiseOf({ promise: 26 * HOUR * 1000, schedule: ['@hourly'] }, saturday), 26 * HOUR)
  assert.equal(await promiseOf({ promise: undefined, schedule: undefined }, saturday), null)
  assert.equal(await of('no schedule at all'), null)
})

test('a schedule of systemd is read by systemd', needs('systemd-analyze'), async () => {
  assert.equal(await of('Mon..Sat 01:30'), 72 * HOUR)
  assert.equal(await of('Sun 03:00'), 1.5 * 7 * 24 * HOUR)
})
