import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RunRow } from '../../src/web/house.ts'
import { daysOf } from '../../src/web/run-days.ts'

function run(started: string, minutes: number, done: number, failed: number): RunRow {
  const ended = new Date(Date.parse(started) + minutes * 60_000).toISOString()
  const outcome = failed === 0 ? 'all' : done === 0 ? 'none' : 'some'
  return { ...{ host: 'a', job: 'nightly', run: started }, started, ended, outcome, done, failed, stored: done * 10 }
}

test('runs are summed up by the days of who looks', () => {
  const rows = [
    run('2026-03-29T22:30:00.000Z', 20, 4, 0),
    run('2026-03-28T23:30:00.000Z', 90, 2, 1),
    run('2026-03-28T22:59:59.999Z', 10, 3, 0),
    run('2026-03-28T01:00:00.000Z', 5, 0, 2),
  ]
  const none = { runs: 0, whole: 0, done: 0, failed: 0 }
  assert.deepEqual(daysOf(rows, 'Europe/Berlin'), [
    { ...none, day: '2026-03-28', runs: 2, whole: 1, worst: 'none', done: 3, failed: 2, longest: 600, stored: 30 },
    { ...none, day: '2026-03-29', runs: 1, worst: 'some', done: 2, failed: 1, longest: 5400, stored: 20 },
    { ...none, day: '2026-03-30', runs: 1, whole: 1, worst: 'all', done: 4, longest: 1200, stored: 40 },
  ])
  const days = (zone: string) => daysOf(rows, zone).map(({ day, runs }) => `${day.slice(8)}: ${runs}`)
  assert.deepEqual(days('UTC'), ['28: 3', '29: 1'])
  assert.deepEqual(days('America/Los_Angeles'), ['27: 1', '28: 2', '29: 1'])
  assert.deepEqual(days('Asia/Kathmandu'), ['28: 1', '29: 2', '30: 1'])
  assert.deepEqual(days('Nowhere/Else'), days('UTC'))
  assert.deepEqual(daysOf([], 'UTC'), [])
})

test('the quarter of an hour in which a day begins is of one day, in zones that are not whole hours away', () => {
  for (const [zone, midnight] of [
    ['Asia/Kathmandu', '2026-05-01T18:15:00.000Z'],
    ['Australia/Eucla', '2026-05-01T15:15:00.000Z'],
    ['America/St_Johns', '2026-05-02T02:30:00.000Z'],
  ]) {
    const before = new Date(Date.parse(midnight) - 1).toISOString()
    const days = daysOf([run(before, 1, 1, 0), run(midnight, 1, 1, 0)], zone)
    assert.deepEqual(
      days.map(({ day }) => day),
      ['2026-05-01', '2026-05-02'],
      zone,
    )
  }
})
