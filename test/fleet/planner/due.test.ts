import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type DueJob, Dues } from '../../../src/fleet/planner/due.ts'
import { LIMBO_MS } from '../../../src/fleet/planner/owners.ts'
import { workId } from '../../../src/fleet/planner/work-id.ts'
import { NIGHT, nas } from './made-up.ts'

const DAY = 86_400_000
const MINUTE = 60_000
const nights = [NIGHT, NIGHT + DAY, NIGHT + 2 * DAY]

function job(guests: string[], next = nights, more: Partial<DueJob> = {}): DueJob {
  return { name: 'nightly', next, window: '22:00-06:00', places: [nas('nas1')], guests, ...more }
}

function made(owners: Record<string, string> = { web: 'a', db: 'a' }): Dues {
  const dues = new Dues({ ownerOf: (guest) => owners[guest] ?? null })
  dues.setHost('a', [job(['web', 'db'])], NIGHT - DAY)
  return dues
}

const names = (works: { guest: string; due: number }[]) => works.map(({ guest, due }) => [guest, due])

describe('what is due', () => {
  test('is made when its time has come, once, with all that its host says', () => {
    const dues = made()
    assert.equal(dues.nextAt, NIGHT)
    assert.deepEqual(dues.take(NIGHT - 1), [])
    const [web, db] = dues.take(NIGHT)
    const usual = {
      host: 'a',
      job: 'nightly',
      due: NIGHT,
      window: '22:00-06:00',
      places: [nas('nas1')],
      replaces: null,
    }
    assert.deepEqual(web, { id: workId('nightly', 'web', NIGHT), guest: 'web', ...usual })
    assert.equal(db.guest, 'db')
    assert.deepEqual(dues.take(NIGHT), [])
    assert.equal(dues.nextAt, NIGHT + DAY)
  })

  test('the latest time alone counts of those that were missed', () => {
    assert.deepEqual(names(made().take(NIGHT + DAY + 1)), [
      ['web', NIGHT + DAY],
      ['db', NIGHT + DAY],
    ])
  })

  test('replaces the work of the time before', () => {
    const dues = made()
    const [before] = dues.take(NIGHT)
    assert.equal(dues.take(NIGHT + DAY)[0].replaces, before.id)
  })

  test('is not made if the host has begun it by itself, or an earlier planner has', () => {
    const dues = made()
    dues.done('nightly', 'web', NIGHT)
    assert.deepEqual(names(dues.take(NIGHT)), [['db', NIGHT]])
  })

  test('is made by the host alone that the guest belongs to', () => {
    const owners: Record<string, string> = { web: 'b', db: 'a' }
    const dues = made(owners)
    assert.deepEqual(names(dues.take(NIGHT)), [['db', NIGHT]])
  })

  test('comes although the host, whose clock is ahead, thinks that it has passed', () => {
    const dues = made()
    dues.setHost('a', [job(['web'], nights.slice(1))], NIGHT + MINUTE)
    assert.deepEqual(names(dues.take(NIGHT)), [['web', NIGHT]])
  })

  test('comes also after a planner that starts before it: what has passed on the clock of the host alone is kept for it', () => {
    const before = made()
    before.setHost('a', [job(['web'], nights.slice(1))], NIGHT + MINUTE)
    assert.deepEqual(before.nextOf('a', 'nightly'), nights)
    const dues = new Dues({ ownerOf: () => 'a' })
    dues.setHost('a', [job(['web'], [...before.nextOf('a', 'nightly')])], NIGHT + MINUTE)
    dues.setHost('a', [job(['web'], nights.slice(1))], NIGHT + 2 * MINUTE)
    assert.deepEqual(names(dues.take(NIGHT)), [['web', NIGHT]])
    assert.deepEqual(dues.nextOf('a', 'nightly'), nights.slice(1))
    assert.deepEqual(dues.nextOf('b', 'nightly'), [])
  })

  test('comes once although the host, whose clock is behind, thinks that it is still to come', () => {
    const dues = made()
    assert.equal(dues.take(NIGHT).length, 2)
    dues.setHost('a', [job(['web', 'db'])], NIGHT - MINUTE)
    assert.deepEqual(dues.take(NIGHT + MINUTE), [])
  })

  test('does not come at a time that is no longer in the schedule', () => {
    const dues = made()
    dues.setHost('a', [job(['web'], [NIGHT + 5 * MINUTE])], NIGHT - 60 * MINUTE)
    assert.deepEqual(dues.take(NIGHT), [])
    assert.deepEqual(names(dues.take(NIGHT + 5 * MINUTE)), [['web', NIGHT + 5 * MINUTE]])
  })

  test('does not come for a guest that is new in the job, until the next time', () => {
    const owners: Record<string, string> = { web: 'a', db: 'a', young: 'a' }
    const dues = made(owners)
    dues.take(NIGHT)
    dues.setHost('a', [job(['web', 'db', 'young'], nights.slice(1))], NIGHT + MINUTE)
    assert.deepEqual(dues.take(NIGHT + MINUTE), [])
    assert.equal(dues.take(NIGHT + DAY).length, 3)
  })
})

describe('a guest that was on its way when it was due', () => {
  const arrivedAfter = (milliseconds: number) => {
    const owners: Record<string, string> = { web: 'a', db: 'a' }
    const dues = made(owners)
    dues.setHost('b', [job([])], NIGHT - DAY)
    dues.setHost('a', [job(['db'])], NIGHT - MINUTE)
    dues.take(NIGHT)
    owners.web = 'b'
    dues.setHost('b', [job(['web'], nights.slice(1))], NIGHT + milliseconds)
    dues.arrived('b', 'web')
    return dues.take(NIGHT + milliseconds)
  }

  test('is backed up where it has arrived', () => {
    const [work] = arrivedAfter(MINUTE)
    assert.deepEqual([work.guest, work.host, work.due], ['web', 'b', NIGHT])
  })

  test('waits for the next time if that was long ago', () => {
    assert.deepEqual(arrivedAfter(LIMBO_MS + 1), [])
  })

  test('is not backed up again if its work was made before it went', () => {
    const owners: Record<string, string> = { web: 'a', db: 'a' }
    const dues = made(owners)
    dues.setHost('b', [job([])], NIGHT - DAY)
    dues.take(NIGHT)
    owners.web = 'b'
    dues.setHost('b', [job(['web'], nights.slice(1))], NIGHT + MINUTE)
    dues.arrived('b', 'web')
    assert.deepEqual(dues.take(NIGHT + MINUTE), [])
    assert.deepEqual(dues.on('b', 'nightly', 'web')?.places, [nas('nas1')])
    assert.equal(dues.on('b', 'nightly', 'db'), null)
  })
})

test('ids of works are the same on each planner, and differ for each job, guest and time', () => {
  const key = fc.tuple(fc.string(), fc.string(), fc.nat())
  const differ = fc.property(key, key, (one, other) => {
    assert.equal(workId(...one), workId(...one))
    assert.match(workId(...one), /^[A-Za-z0-9._-]{1,100}$/)
    assert.equal(workId(...one) === workId(...other), JSON.stringify(one) === JSON.stringify(other))
  })
  fc.assert(differ)
})
