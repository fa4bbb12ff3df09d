import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { before, isoWeek, parseSpan, wallClock } from '../../src/catalog/calendar.ts'
import { type Keep, select } from '../../src/catalog/retention.ts'
import { at, entry } from './entries.ts'
import { modelOfKeep } from './model.ts'

const UTC = wallClock('UTC')

/** The archives, newest first, of these times, each named by its time. */
const archives = (times: readonly string[]) =>
  times.map((time) => entry(time, at(time))).sort((a, b) => b.ctime - a.ctime)

const kept = (times: readonly string[], keep: Keep, zone = 'UTC') =>
  Object.fromEntries(
    [...select(archives(times), keep, wallClock(zone))].map(([{ name }, why]) => [name, why.join(', ')]),
  )

describe('rules', () => {
  test('last keeps the newest, daily then days that last does not cover', () => {
    const times = [
      '2026-11-25T01:00:00Z',
      '2026-11-26T01:00:00Z',
      '2026-11-26T13:00:00Z',
      '2026-11-27T01:00:00Z',
      '2026-11-28T01:00:00Z',
    ]
    assert.deepEqual(kept(times, { last: 1, daily: 2 }), {
      '2026-11-28T01:00:00Z': 'last 1',
      '2026-11-27T01:00:00Z': 'daily 1',
      '2026-11-26T13:00:00Z': 'daily 2',
    })
  })

  test('a period without an archive is not counted', () => {
    assert.deepEqual(kept(['2020-01-01T00:00:00Z', '2023-06-01T00:00:00Z', '2026-11-28T00:00:00Z'], { yearly: 3 }), {
      '2026-11-28T00:00:00Z': 'yearly 1',
      '2023-06-01T00:00:00Z': 'yearly 2',
      '2020-01-01T00:00:00Z': 'yearly 3',
    })
  })

  test('a week is that of ISO 8601: the last days of December may be in the first week of the next year', () => {
    const week = (time: string) => isoWeek(UTC(at(time)))
    assert.deepEqual(week('2024-12-30T12:00:00Z'), { year: 2025, week: 1 })
    assert.deepEqual(week('2021-01-03T12:00:00Z'), { year: 2020, week: 53 })
    assert.deepEqual(week('2026-11-29T12:00:00Z'), { year: 2026, week: 48 })
    assert.deepEqual(
      Object.keys(kept(['2024-12-29T00:00:00Z', '2024-12-31T00:00:00Z', '2025-01-02T00:00:00Z'], { weekly: 5 })),
      ['2025-01-02T00:00:00Z', '2024-12-29T00:00:00Z'],
    )
  })

  test('a day is that of the time zone, also when its clocks are changed', () => {
    // 23:30 and 00:30 in Berlin, in summer.
    const times = ['2026-07-01T21:30:00Z', '2026-07-01T22:30:00Z']
    assert.equal(Object.keys(kept(times, { daily: 9 }, 'UTC')).length, 1)
    assert.equal(Object.keys(kept(times, { daily: 9 }, 'Europe/Berlin')).length, 2)
    // The hour from two to three that comes twice in October is one hour, as for Proxmox.
    const twice = ['2026-10-25T00:30:00Z', '2026-10-25T01:30:00Z']
    assert.equal(Object.keys(kept(twice, { hourly: 9 }, 'Europe/Berlin')).length, 1)
    assert.equal(Object.keys(kept(twice, { hourly: 9 }, 'UTC')).length, 2)
  })

  test('within counts back from the newest archive by the calendar', () => {
    const times = ['2026-02-27T23:59:59Z', '2026-02-28T00:00:00Z', '2026-03-10T00:00:00Z', '2026-03-31T00:00:00Z']
    assert.deepEqual(Object.keys(kept(times, { within: '1m' })), times.slice(1).reverse())
    assert.equal(before(UTC(at('2024-02-29T12:00:00Z')), parseSpan('1y')), Date.parse('2023-02-28T12:00:00Z'))
    assert.deepEqual(parseSpan('1y2m1w3d4h'), { years: 1, months: 2, days: 10, hours: 4 })
    for (const text of ['', '7', 'd', '-1d', '1d ', '1.5d', '9999999d', '99999w'])
      assert.throws(() => parseSpan(text), /no time span/)
  })
})

const count = fc.option(fc.nat(5), { nil: undefined })
const rules = fc.record({ last: count, hourly: count, daily: count, weekly: count, monthly: count, yearly: count })

describe('rules for any archives', () => {
  const seconds = fc.integer({ min: at('2024-11-01T00:00:00Z'), max: at('2026-02-01T00:00:00Z') })
  const close = fc.tuple(seconds, fc.integer({ min: 0, max: 200_000 })).map(([time, more]) => time + more)
  const times = fc.uniqueArray(fc.oneof(seconds, close), { maxLength: 40 }).map((all) => all.sort((a, b) => b - a))

  test('keep what Proxmox keeps', () => {
    fc.assert(
      fc.property(times, rules, (all, keep) => {
        const found = select(
          all.map((time) => entry(String(time), time)),
          keep,
          UTC,
        )
        assert.deepEqual(new Set([...found.keys()].map(({ ctime }) => ctime)), modelOfKeep(all, keep))
      }),
      { numRuns: 300 },
    )
  })

  test('of the newest so many periods that have an archive, each keeps one: what restic promises too', () => {
    const day = (time: number) => new Date(time * 1000).toISOString().slice(0, 10)
    fc.assert(
      fc.property(times, rules, (all, keep) => {
        const found = select(
          all.map((time) => entry(String(time), time)),
          keep,
          UTC,
        )
        const days = new Set([...found.keys()].map(({ ctime }) => day(ctime)))
        for (const one of [...new Set(all.map(day))].slice(0, keep.daily ?? 0)) assert.ok(days.has(one), one)
      }),
      { numRuns: 200 },
    )
  })
})
