import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { guestState, leastPromise } from '../../../src/fleet/planner/guest-state.ts'
import { MOST_ATTEMPTS, retryOf } from '../../../src/fleet/planner/retries.ts'
import { NIGHT } from './made-up.ts'

const failed = { outcome: 'failed', code: 'FAILED', reason: 'connection refused', attempt: 1, hasMoved: false } as const
const MINUTE = 60_000

describe('a work that did not succeed', () => {
  test('is tried again later each time, and given up after the last attempt', () => {
    const pauses = Array.from({ length: MOST_ATTEMPTS }, (_, index) => {
      const verdict = retryOf({ ...failed, attempt: index + 1 }, NIGHT)
      return verdict.again ? (verdict.notBefore - NIGHT) / MINUTE : verdict.reason
    })
    assert.deepEqual(pauses, [5, 10, 20, 40, 'given up after 5 attempts: connection refused'])
  })

  test('is not tried again if the error lasts, or somebody has ended it', () => {
    for (const code of ['USAGE', 'CONFIG', 'STAGE', 'ABORTED'] as const)
      assert.equal(retryOf({ ...failed, code }, NIGHT).again, false)
    for (const outcome of ['refused', 'canceled', 'skipped'] as const)
      assert.equal(retryOf({ ...failed, outcome }, NIGHT).again, false)
  })

  test('is tried again once if its host does not have the guest that it told of: it may have moved', () => {
    const refused = { ...failed, outcome: 'refused', code: null, mayHaveMoved: true } as const
    assert.deepEqual(retryOf(refused, NIGHT), {
      ...{ again: true, notBefore: NIGHT + 2 * MINUTE, reason: 'connection refused' },
    })
    assert.equal(retryOf({ ...refused, attempt: 2 }, NIGHT).again, false)
  })

  test('is tried again at once where the guest is now, but not for ever', () => {
    const moved = { ...failed, outcome: 'refused', hasMoved: true } as const
    assert.deepEqual(retryOf(moved, NIGHT), { again: true, notBefore: NIGHT, reason: 'connection refused' })
    assert.equal(retryOf({ ...moved, attempt: MOST_ATTEMPTS }, NIGHT).again, false)
  })

  test('is tried again at once if its host died, and later if it dies again', () => {
    const lost = { ...failed, outcome: 'lost', code: null } as const
    const pause = (attempt: number) => (retryOf({ ...lost, attempt }, NIGHT) as { notBefore: number }).notBefore - NIGHT
    assert.deepEqual([1, 2, 3, 4].map(pause), [0, MINUTE, 2 * MINUTE, 4 * MINUTE])
  })
})

describe('a guest', () => {
  const facts = { lastGood: NIGHT, promise: 3600, jobs: ['nightly'], host: 'a', isHostGone: false }
  const after = (hours: number, more = {}) => guestState({ ...facts, ...more }, NIGHT + hours * 60 * MINUTE)

  test('is good, late or overdue by the age of its last good backup', () => {
    assert.deepEqual(
      [0, 1, 1.5, 2, 2.1].map((hours) => after(hours).state),
      ['good', 'good', 'late', 'late', 'overdue'],
    )
    assert.match(after(1.5).problem!, /is 1h 30m old; 1h 00m are promised/)
    assert.equal(after(1000, { promise: null }).state, 'good')
    assert.deepEqual(after(0, { lastGood: null }), { state: 'overdue', problem: 'it has no good backup' })
  })

  test('is unprotected if it is in no job or its host is gone', () => {
    assert.deepEqual(after(0, { jobs: [] }), { state: 'unprotected', problem: 'it is in no job' })
    assert.deepEqual(after(0, { isHostGone: true }), { state: 'unprotected', problem: 'its host a is gone' })
  })

  test('is promised the least of what its jobs promise', () => {
    assert.deepEqual([leastPromise([null, 7200, 3600]), leastPromise([null]), leastPromise([])], [3600, null, null])
  })
})
