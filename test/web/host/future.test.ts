import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { guestRows } from '../../../src/web/host/guests.ts'

const NOW = Date.parse('2026-11-29T12:00:00Z')
const WEB = { name: 'web', source: { kind: 'drives', drives: [] } }
const HOUR = 3_600_000

/** A guest whose newest good archive has this time. */
function rowOf(lastGood: number) {
  const [row] = guestRows({
    host: 'host1',
    jobs: [{ name: 'nightly', promise: 36 * 3600, job: { name: 'nightly', to: [] } }],
    found: {
      byJob: new Map([
        ['nightly', { guests: [WEB], problems: [], states: new Map([['web', { success: null, size: null }]]) }],
      ]),
      sockets: new Set(),
      domains: new Map(),
    },
    open: null,
    archives: { lastGood: () => ({ at: lastGood, isSure: true }) },
    histories: { trends: () => new Map(), failures: () => new Map() },
    now: NOW,
  } as unknown as Parameters<typeof guestRows>[0])
  return row
}

describe('an archive of the future', () => {
  test('does not make its guest good until then', () => {
    const row = rowOf(NOW + 365 * 24 * HOUR)
    assert.equal(row.state, 'overdue')
    assert.match(row.problem!, /2027-11-29 12:00 UTC, which is in the future/)
  })

  test('by some minutes is that of another clock', () => {
    assert.equal(rowOf(NOW + 60_000).state, 'good')
    assert.equal(rowOf(NOW - HOUR).state, 'good')
  })
})
