import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { wallClock } from '../../../src/catalog/calendar.ts'
import { Windows } from '../../../src/fleet/planner/windows.ts'

const MINUTE = 60_000
const opens = (window: string, zone: string, now: string) => {
  const at = new Windows().opens(window, zone, Date.parse(now))
  return at === null ? null : new Date(at).toISOString().slice(0, 16)
}

describe('a window', () => {
  test('over midnight, by the clock of its zone', () => {
    assert.equal(opens('22:00-06:00', 'Europe/Berlin', '2026-01-10T20:59:00Z'), '2026-01-10T21:00')
    assert.equal(opens('22:00-06:00', 'Europe/Berlin', '2026-01-11T04:59:59Z'), null)
    assert.equal(opens('22:00-06:00', 'Europe/Berlin', '2026-01-11T05:00:00Z'), '2026-01-11T21:00')
    assert.equal(opens('22:00-24:00', 'Asia/Kathmandu', '2026-01-11T10:00:00Z'), '2026-01-11T16:15')
  })

  test('that begins in the hour which is skipped opens when it is over', () => {
    assert.equal(opens('02:30-04:00', 'Europe/Berlin', '2026-03-28T23:00:00Z'), '2026-03-29T01:00')
  })

  test('that begins in the hour which comes twice opens at the first of them', () => {
    assert.equal(opens('02:30-04:00', 'Europe/Berlin', '2026-10-24T22:00:00Z'), '2026-10-25T00:30')
  })

  test('that is wholly skipped opens the day after', () => {
    assert.equal(opens('02:10-02:50', 'Europe/Berlin', '2026-03-28T23:00:00Z'), '2026-03-30T00:10')
  })

  test('that cannot be read keeps no guest without a backup; an unknown zone counts as UTC', () => {
    assert.equal(opens('at night', 'Europe/Berlin', '2026-03-28T12:00:00Z'), null)
    assert.equal(opens('22:00-06:00', 'Mars/Olympus', '2026-03-28T12:00:00Z'), '2026-03-28T22:00')
  })

  test('opens at the first minute at which clocks on the wall show that it is open, on days of 23 and 25 hours too', () => {
    const days = [
      Date.parse('2026-03-28T12:00:00Z'),
      Date.parse('2026-10-24T12:00:00Z'),
      Date.parse('2026-04-04T02:00:00Z'),
    ]
    const zone = fc.constantFrom('Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu')
    const quarter = fc.integer({ min: 0, max: 95 })
    const right = fc.property(
      fc.constantFrom(...days),
      zone,
      quarter,
      quarter,
      fc.nat(24 * 60),
      (day, zone, from, to, later) => {
        fc.pre(from !== to)
        const text = (quarters: number) =>
          `${String(quarters >> 2).padStart(2, '0')}:${String((quarters & 3) * 15).padStart(2, '0')}`
        const clock = wallClock(zone)
        const isOpen = (time: number) => {
          const now = Math.floor((clock(time / 1000).wall / MINUTE) % 1440)
          return from < to ? from * 15 <= now && now < to * 15 : now >= from * 15 || now < to * 15
        }
        const now = day + later * MINUTE
        let first = now
        while (!isOpen(first)) first += MINUTE
        assert.equal(new Windows().opens(`${text(from)}-${text(to)}`, zone, now) ?? now, first)
      },
    )
    fc.assert(right, { numRuns: 60 })
  })
})
