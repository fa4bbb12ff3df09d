import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Planner } from '../../../src/fleet/planner/planner.ts'
import { host, ids, NIGHT, nas, place, work } from './made-up.ts'
import { ModelPlanner } from './model.ts'

const HOUR = 3_600_000

function planner(storages: Record<string, number> = { nas1: 2 }, patience?: number): Planner {
  const made = new Planner({ storages: new Map(Object.entries(storages)), ...(patience !== undefined && { patience }) })
  for (const name of ['a', 'b']) made.setHost(host(name))
  return made
}

describe('the order', () => {
  test('guests without a good backup come first, then the one whose last good backup is the oldest', () => {
    const all = planner({})
    all.setHost(host('a', { parallel: 10 }))
    all.add(work('young', { lastGood: NIGHT - HOUR }))
    all.add(work('old', { lastGood: NIGHT - 50 * HOUR }))
    all.add(work('never', { lastGood: null }))
    all.add(work('never-2', { lastGood: null, due: NIGHT - 1 }))
    assert.deepEqual(ids(all.next(NIGHT)), ['never-2', 'never', 'old', 'young'])
    assert.deepEqual(all.next(NIGHT), [], 'they are in use from then on')
  })

  test('a work whose limit has room since another guest was found busy begins before works that come after it', () => {
    const all = planner({ nas1: 1 })
    all.setHost(host('b', { parallel: 1 }))
    all.use('running', { host: 'b', guest: 'busy', places: [] })
    all.add(work('twice', { host: 'b', guest: 'twice', lastGood: null, places: [] }))
    all.add(work('3', { host: 'b', lastGood: 1 }))
    assert.deepEqual(all.next(NIGHT), [])
    all.add(work('1-elsewhere', { guest: 'twice', lastGood: null, places: [], due: NIGHT - 1 }))
    all.add(work('4', { lastGood: 2, places: [] }))
    all.free('running')
    assert.deepEqual(ids(all.next(NIGHT)), ['1-elsewhere', '3', '4'])
  })
})

describe('limits', () => {
  test('a host backs up so many guests at once as it says', () => {
    const all = planner({})
    for (const guest of ['1', '2', '3']) all.add(work(guest))
    assert.deepEqual(ids(all.next(NIGHT)), ['1', '2'])
    assert.equal(all.waitsFor('3', NIGHT), 'host a has 2 of 2 streams in use')
    all.setHost(host('a', { parallel: 3 }))
    assert.deepEqual(ids(all.next(NIGHT)), ['3'])
  })

  test('a storage counts the streams of all hosts, by whatever path they write to it', () => {
    const all = planner({ nas1: 2 })
    all.add(work('1', { places: [place('/mnt/nas', { storage: 'nas1' })] }))
    all.add(work('2', { host: 'b', places: [place('/srv/other', { storage: 'nas1' })] }))
    all.add(work('3', { host: 'b' }))
    assert.deepEqual(ids(all.next(NIGHT)), ['1', '2'])
    assert.equal(all.waitsFor('3', NIGHT), "the storage 'nas1' has 2 of 2 streams in use")
    all.free('1')
    assert.equal(all.waitsFor('3', NIGHT), '')
    assert.deepEqual(ids(all.next(NIGHT)), ['3'])
  })

  test('two places of one work on one storage are one stream', () => {
    const all = planner({ nas1: 1 })
    all.add(work('1', { places: [place('/mnt/a', { storage: 'nas1' }), place('/mnt/b', { storage: 'nas1' })] }))
    assert.deepEqual(ids(all.next(NIGHT)), ['1'])
  })

  test('a bucket is the same place from every host, and a path is another one on each', () => {
    const all = planner({})
    const limited = (text: string) => [place(text, { parallel: 1 })]
    all.add(work('1', { places: limited('s3://offsite/vms') }))
    all.add(work('2', { host: 'b', places: limited('s3://offsite/vms') }))
    all.add(work('3', { places: limited('/srv/backup') }))
    all.add(work('4', { host: 'b', places: limited('/srv/backup') }))
    assert.deepEqual(ids(all.next(NIGHT)), ['1', '3', '4'])
    assert.equal(all.waitsFor('2', NIGHT), "the place 's3://offsite/vms' has 1 of 1 streams in use")
  })

  test('what a host began by itself counts, also above the limit, and nothing begins until there is room again', () => {
    const all = planner({ nas1: 1 })
    all.use('own-1', { host: 'a', guest: 'x', places: [nas('nas1')] })
    all.use('own-2', { host: 'b', guest: 'y', places: [nas('nas1')] })
    all.add(work('1'))
    assert.deepEqual(all.next(NIGHT), [])
    all.free('own-1')
    assert.deepEqual(all.next(NIGHT), [])
    all.free('own-2')
    assert.deepEqual(ids(all.next(NIGHT)), ['1'])
  })

  test('a use that is told again with other places counts for those alone', () => {
    const all = planner({ nas1: 1, nas2: 1 })
    all.use('own', { host: 'b', guest: 'x', places: [nas('nas1')] })
    all.use('own', { host: 'b', guest: 'x', places: [nas('nas2')] })
    all.add(work('1'))
    all.add(work('2', { places: [nas('nas2')] }))
    assert.deepEqual(ids(all.next(NIGHT)), ['1'])
  })
})

describe('a guest', () => {
  test('is never backed up twice at once, whichever host it is on', () => {
    const all = planner({})
    all.add(work('first', { guest: 'web' }))
    all.add(work('second', { guest: 'web', host: 'b', due: NIGHT + 1 }))
    assert.deepEqual(ids(all.next(NIGHT)), ['first'])
    assert.equal(all.waitsFor('second', NIGHT), 'the guest is being backed up on host a')
    all.free('first')
    assert.deepEqual(ids(all.next(NIGHT)), ['second'])
  })

  test('that two hosts say they back up is free when both have ended', () => {
    const all = planner({})
    all.use('own-a', { host: 'a', guest: 'web', places: [] })
    all.use('own-b', { host: 'b', guest: 'web', places: [] })
    all.add(work('1', { guest: 'web' }))
    all.free('own-a')
    assert.deepEqual(all.next(NIGHT), [])
    all.free('own-b')
    assert.deepEqual(ids(all.next(NIGHT)), ['1'])
  })

  test('a work that is given is not added again while it is in use', () => {
    const all = planner({})
    all.add(work('1'))
    all.next(NIGHT)
    all.add(work('1'))
    assert.deepEqual(all.next(NIGHT), [])
    assert.equal(all.waiting, 0)
  })
})

describe('hosts and times', () => {
  test('works of a host that is gone, drained or not known wait for it', () => {
    const all = planner({})
    all.setHost(host('a', { isUp: false }))
    all.setHost(host('b', { isDrained: true }))
    all.add(work('1'))
    all.add(work('2', { host: 'b' }))
    all.add(work('3', { host: 'c' }))
    assert.deepEqual(all.next(NIGHT), [])
    assert.deepEqual(
      ['1', '2', '3'].map((id) => all.waitsFor(id, NIGHT)),
      ['host a is gone', 'host b is drained', 'host c is gone'],
    )
    for (const name of ['a', 'b', 'c']) all.setHost(host(name))
    assert.deepEqual(ids(all.next(NIGHT)), ['1', '2', '3'])
  })

  test('a host that is known only after its works limits them too', () => {
    const all = planner({})
    for (const guest of ['1', '2', '3']) all.add(work(guest, { host: 'late' }))
    all.setHost(host('late', { parallel: 1 }))
    assert.deepEqual(ids(all.next(NIGHT)), ['1'])
    all.removeHost('late')
    all.free('1')
    assert.deepEqual(all.next(NIGHT), [])
  })

  test('a window is read in the zone of the host', () => {
    const all = planner({})
    all.setHost(host('b', { zone: 'America/New_York' }))
    all.add(work('1', { window: '22:00-06:00' }))
    all.add(work('2', { window: '22:00-06:00', host: 'b' }))
    // Midnight in Berlin, six in the evening in New York.
    assert.deepEqual(ids(all.next(NIGHT)), ['1'])
    assert.equal(
      all.waitsFor('2', NIGHT),
      'the window 22:00-06:00 of host b (America/New_York) opens at 2026-01-11T03:00:00Z',
    )
    assert.equal(all.nextAt, NIGHT + 4 * HOUR)
    assert.deepEqual(all.next(NIGHT + 4 * HOUR - 1), [])
    assert.deepEqual(ids(all.next(NIGHT + 4 * HOUR)), ['2'])
  })

  test('what failed begins when its time has come', () => {
    const all = planner({})
    all.add(work('1', { notBefore: NIGHT + HOUR }))
    assert.deepEqual(all.next(NIGHT), [])
    assert.equal(all.waitsFor('1', NIGHT), 'it failed, and is tried again at 2026-01-11T00:00:00Z')
    assert.deepEqual(ids(all.next(NIGHT + HOUR)), ['1'])
  })
})

describe('starvation', () => {
  /** Streams of both storages end in turn, and there is always another small work. Returns after how many of them the large one began. */
  function turnsUntilLarge(patience?: number): number {
    const all = planner({ nas1: 1, nas2: 1 }, patience)
    all.setHost(host('a', { parallel: 100 }))
    let made = 0
    const small = (name: string) => all.add(work(`${name}-${made++}`, { places: [nas(name)] }))
    for (const name of ['nas1', 'nas2', 'nas1', 'nas2']) small(name)
    const running = ids(all.next(NIGHT))
    all.add(work('large', { lastGood: null, places: [nas('nas1'), nas('nas2')] }))
    for (let turn = 0; turn < 100; turn++) {
      const ended = running.shift()
      if (ended === undefined) return -1
      all.free(ended)
      small(ended.split('-')[0])
      const begun = ids(all.next(NIGHT + turn))
      if (begun.includes('large')) return turn
      running.push(...begun)
    }
    return Infinity
  }

  test('a work that needs two storages begins although works that need one of them never end to come', () => {
    assert.equal(turnsUntilLarge(Infinity), Infinity, 'without kept slots it would starve')
    assert.ok(turnsUntilLarge() < 10)
  })

  test('a kept slot is told, and given up if the host of its guest is gone', () => {
    const all = planner({ nas1: 1, nas2: 1 }, 1)
    all.add(work('large', { lastGood: null, places: [nas('nas1'), nas('nas2')] }))
    all.use('u1', { host: 'b', guest: 'u1', places: [nas('nas1')] })
    all.use('u2', { host: 'b', guest: 'u2', places: [nas('nas2')] })
    all.next(NIGHT)
    all.free('u1')
    assert.deepEqual(all.next(NIGHT), [])
    all.add(work('small', { host: 'b' }))
    assert.deepEqual(all.next(NIGHT), [])
    assert.equal(
      all.waitsFor('small', NIGHT),
      "the next stream of the storage 'nas1' is kept for the guest 'large', which was passed over",
    )
    all.setHost(host('a', { isUp: false }))
    assert.deepEqual(ids(all.next(NIGHT)), ['small'])
  })
})

const names = ['a', 'b', 'c', 'd']
const aPlace = fc.constantFrom(
  nas('nas1'),
  nas('nas2'),
  place('s3://offsite', { parallel: 1 }),
  place('s3://offsite', { parallel: 2 }),
  place('/srv', { parallel: 1 }),
  place('/free'),
)
const places = fc.uniqueArray(aPlace, { maxLength: 3 })
const guests = fc.integer({ min: 0, max: 7 }).map((number) => `guest-${number}`)
const aWork = fc.record({
  id: fc.integer({ min: 0, max: 30 }).map((number) => `work-${number}`),
  host: fc.constantFrom(...names),
  job: fc.constant('nightly'),
  guest: guests,
  due: fc.constant(NIGHT),
  lastGood: fc.option(fc.integer({ min: 0, max: 5 }), { nil: null }),
  places,
  window: fc.constantFrom(null, null, '22:00-06:00', '00:30-01:00'),
  notBefore: fc.constantFrom(0, 0, NIGHT + HOUR, NIGHT + 3 * HOUR),
})
const aHost = fc.record({
  host: fc.constantFrom(...names),
  zone: fc.constantFrom('Europe/Berlin', 'America/New_York', 'Asia/Kathmandu'),
  parallel: fc.integer({ min: 1, max: 3 }),
  isUp: fc.constantFrom(true, true, false),
  isDrained: fc.constantFrom(false, false, true),
})
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('add' as const), work: aWork }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('host' as const), host: aHost }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('removeHost' as const), host: fc.constantFrom(...names) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('remove' as const),
      id: fc.integer({ min: 0, max: 30 }).map((n) => `work-${n}`),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('use' as const),
      id: fc.constantFrom('own-1', 'own-2', 'work-1', 'work-2'),
      host: fc.constantFrom(...names),
      guest: guests,
      places,
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('free' as const), index: fc.nat(20) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('next' as const), minutes: fc.integer({ min: 0, max: 240 }) }) },
)

type Step = typeof step extends fc.Arbitrary<infer One> ? One : never

/** Does the same to both. `look` is called when something may begin; what has begun in the model is up to it. */
function both(steps: Step[], real: Planner, model: ModelPlanner, look: (now: number) => void): void {
  let now = NIGHT
  for (const name of names) for (const all of [real, model]) all.setHost(host(name))
  for (const one of steps) {
    if (one.do === 'next') {
      now += one.minutes * 60_000
      look(now)
    } else {
      const used = [...model.inUse.keys()]
      const freed = one.do === 'free' ? used[one.index % used.length] : null
      for (const all of [real, model]) {
        if (one.do === 'add') all.add(one.work)
        else if (one.do === 'host') all.setHost(one.host)
        else if (one.do === 'removeHost') all.removeHost(one.host)
        else if (one.do === 'remove') all.remove(one.id)
        else if (one.do === 'use') all.use(one.id, one)
        else all.free(freed ?? 'nothing')
      }
    }
  }
}

describe('for anything that may happen', () => {
  const storages = new Map([
    ['nas1', 1],
    ['nas2', 2],
  ])
  const anything = fc.array(step, { minLength: 40, maxLength: 200, size: 'max' })

  test('the same works begin in the same order as if each were looked at each time', () => {
    let begun = 0
    const same = fc.property(anything, (steps) => {
      const real = new Planner({ storages, patience: Infinity })
      const model = new ModelPlanner(storages)
      both(steps, real, model, (now) => {
        const works = ids(real.next(now))
        begun += works.length
        assert.deepEqual(works, ids(model.next(now)))
        for (const id of model.waiting.keys()) assert.notEqual(real.waitsFor(id, now), '', `${id} waits for something`)
      })
      assert.equal(real.waiting, model.waiting.size)
    })
    fc.assert(same, { numRuns: 200 })
    assert.ok(begun > 1000, `${begun} works began`)
  })

  test('slots that are kept let nothing begin that must wait, and in the end all begins', () => {
    const kept = fc.property(anything, fc.integer({ min: 1, max: 3 }), (steps, patience) => {
      const real = new Planner({ storages, patience })
      const model = new ModelPlanner(storages)
      const begin = (now: number) => {
        for (const work of real.next(now)) {
          assert.ok(model.mayBegin(work, now), `${work.id} had to wait`)
          model.use(work.id, work)
        }
      }
      both(steps, real, model, begin)
      for (const name of names) for (const all of [real, model]) all.setHost(host(name, { parallel: 1 }))
      for (let look = 0; model.waiting.size > 0; look++) {
        assert.ok(look < 500, `${[...model.waiting.keys()]} never begin`)
        begin(NIGHT + 86_400_000 * 30 + look * 600_000)
        for (const id of [...model.inUse.keys()]) for (const all of [real, model]) all.free(id)
      }
      assert.equal(real.waiting, 0)
    })
    fc.assert(kept, { numRuns: 200 })
  })
})

describe('its own work', () => {
  /** 500 hosts with 40 guests each, all on one storage. */
  function large(): Planner {
    const all = new Planner({ storages: new Map([['nas1', 4]]) })
    for (let number = 0; number < 500; number++) {
      const name = `host-${number}`
      all.setHost(host(name))
      for (let guest = 0; guest < 40; guest++)
        all.add(work(`${name}-${guest}`, { host: name, lastGood: NIGHT - ((guest * 7919 + number) % 1000) * 60_000 }))
    }
    return all
  }

  test('does not grow with the works that wait: 20,000 of them are looked at by lanes, and those that are parked not at all', () => {
    const all = large()
    const running = ids(all.next(NIGHT))
    assert.equal(running.length, 4)
    assert.ok(all.steps <= 510, `${all.steps} lanes for 20,000 works`)
    const before = all.steps
    for (let second = 0; second < 1000; second++) assert.deepEqual(all.next(NIGHT + second * 1000), [])
    assert.equal(all.steps, before, 'nothing has changed, so nothing is looked at')
    for (let turn = 0; turn < 1000; turn++) {
      all.free(running.shift()!)
      running.push(...ids(all.next(NIGHT + turn * 60_000)))
      assert.equal(running.length, 4)
    }
    assert.ok(all.steps - before < 3000, `${all.steps - before} lanes for 1000 works that ended`)
  })
})
