import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { seed } from '../support/random.ts'
import { type SimulationOptions, simulate } from './simulation.ts'

const NIGHTS: Omit<SimulationOptions, 'seed'> = { hosts: 12, guests: 240, nights: 3, streams: 5 }
const ROUNDS = 3

describe('nights of a fleet', () => {
  test(`hosts die, guests move and works are given twice: no guest is backed up twice at once, no limit is exceeded for a moment, none is forgotten (seed ${seed})`, () => {
    for (let round = 0; round < ROUNDS; round++) {
      const all = simulate({ ...NIGHTS, seed: seed + round, isCalm: true })
      assert.deepEqual(all.violations, [], `seed ${seed + round}`)
      assert.ok(all.works.done > 1000 && all.deaths > 20 && all.movesDuringBackup > 20 && all.again > 10)
    }
  })

  test(`hosts are cut off and go on by themselves, and the planner is started again: no limit is exceeded by what it knows, none is forgotten (seed ${seed})`, () => {
    for (let round = 0; round < ROUNDS; round++) {
      const all = simulate({ ...NIGHTS, seed: seed + round })
      assert.deepEqual(all.violations, [], `seed ${seed + round}`)
      assert.ok(all.works.done > 1000 && all.restarts > 5 && all.movesDuringBackup > 20)
    }
  })

  test('if nothing goes wrong, a work begins within a second after its limits have room', () => {
    const all = simulate({ ...NIGHTS, seed, isFine: true })
    assert.deepEqual(all.violations, [])
    assert.deepEqual(all.works, { waiting: 0, given: 0, done: all.archives, told: 0 })
    assert.ok(all.dispatch.length > 500)
    assert.ok(Math.max(...all.dispatch) < 1000, `${Math.max(...all.dispatch)} ms`)
  })
})

describe('a fault of the planner is found', () => {
  const found = (fault: SimulationOptions['fault'], more: Partial<SimulationOptions> = {}) =>
    simulate({ ...NIGHTS, seed: 1, fault, ...more }).violations.join('\n')

  test('storages without limits', () => {
    assert.match(found('storage', { isCalm: true }), /storage nas\d has 6 of 5 in use/)
  })

  test('hosts without limits', () => {
    assert.match(found('host', { isCalm: true }), /host host-\d+ had 2 of 2 in use/)
  })

  test('guests that may be in use twice', () => {
    assert.match(found('guest', { isCalm: true }), /is backed up twice at once/)
  })

  test('works that are forgotten when their host dies', () => {
    assert.match(found('lost', { isCalm: true }), /is given in the end/)
  })

  test('works that stay where their guest was', () => {
    assert.match(found('moves'), /is waiting in the end/)
  })

  test('a planner that begins before it knows what runs', () => {
    assert.match(found('restart', { seed: 3 }), /was given to host-\d+ although/)
  })
})
