import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { CatalogEntry } from '../../src/catalog/entry.ts'
import { Families } from '../../src/catalog/families.ts'
import { type Keep, prunePlan, type Verdict } from '../../src/catalog/prune.ts'
import { inOrderOfRemoval } from '../../src/catalog/prune-plan.ts'
import { at, entry } from './entries.ts'

const NOW = Date.parse('2026-11-29T03:00:00Z')
const day = (number: number) => NOW / 1000 - number * 86_400
const plan = (entries: CatalogEntry[], keep: Keep, inUse: string[] = []) =>
  prunePlan(entries, keep, { now: NOW, inUse: new Set(inUse), timeZone: 'UTC' })
const told = (verdicts: Verdict[]) =>
  Object.fromEntries(
    verdicts.map(({ entry, stays, reasons }) => [entry.name, `${stays ? 'stays' : 'goes'}: ${reasons.join('; ')}`]),
  )
const failed = [{ kind: 'verify' as const, at: '2026-11-28T00:00:00Z', passed: false }]

describe('a plan', () => {
  test('keeps the parents of what stays, down to the full archive, and says whose they are', () => {
    const chain = [
      entry('full', day(3)),
      entry('one', day(2), { parent: 'full' }),
      entry('two', day(1), { parent: 'one' }),
    ]
    assert.deepEqual(told(plan([...chain, entry('old', day(9))], { last: 1 })), {
      full: "stays: parent of 'one'",
      one: "stays: parent of 'two'",
      two: 'stays: newest good archive; last 1',
      old: 'goes: no rule keeps it',
    })
  })

  test('keeps what is protected, and does not count it', () => {
    const verdicts = plan([entry('a', day(1), { protected: true }), entry('b', day(2)), entry('c', day(3))], {
      last: 1,
    })
    assert.deepEqual(told(verdicts), {
      a: 'stays: newest good archive; protected',
      b: 'stays: last 1',
      c: 'goes: no rule keeps it',
    })
  })

  test('keeps the newest good archive, whatever newer ones have failed', () => {
    const entries = [
      entry('good', day(9)),
      entry('bad', day(2), { checks: failed }),
      entry('child of bad', day(1), { parent: 'bad' }),
      entry('orphan', day(0), { parent: 'nobody' }),
    ]
    const verdicts = plan(entries, { last: 1 })
    assert.equal(told(verdicts).good, 'stays: newest good archive; last 1')
    assert.match(told(verdicts).orphan, /^stays: last 1, though it cannot be restored/)
    assert.match(told(verdicts).bad, /^goes: no rule keeps it, and it failed its check/)
  })

  test('a check of all the data that passed later outweighs one that failed', () => {
    const checks = [
      { kind: 'sample' as const, at: '2026-11-20T00:00:00Z', passed: false },
      { kind: 'verify' as const, at: '2026-11-21T00:00:00Z', passed: true },
    ]
    assert.ok(new Families([entry('x', day(1), { checks })]).isGood(entry('x', day(1), { checks })))
  })

  test('lets nothing go of a guest that has no good archive', () => {
    const entries = [entry('bad', day(9), { checks: failed }), entry('worse', day(2), { checks: failed })]
    assert.ok(plan(entries, { last: 1 }).every(({ stays }) => stays))
  })

  test('keeps what is in use and its parents', () => {
    const chain = [
      entry('full', day(5)),
      entry('one', day(4), { parent: 'full' }),
      entry('new', day(1)),
      entry('older', day(7)),
    ]
    assert.deepEqual(told(plan(chain, { last: 1 }, ['/srv/web/one'])), {
      full: "stays: parent of 'one'",
      one: 'stays: in use',
      new: 'stays: newest good archive; last 1',
      older: 'goes: no rule keeps it',
    })
  })

  test('stops if the newest is in the future: the clock has jumped', () => {
    const entries = [entry('a', day(3)), entry('b', NOW / 1000 + 3600)]
    assert.throws(
      () => plan(entries, { last: 1 }),
      /'\/srv\/web\/b' is of 2026-11-29T04:00:00.000Z, which is in the future: nothing was removed/,
    )
    assert.doesNotThrow(() => plan([entry('a', NOW / 1000 + 60)], { last: 1 }))
  })

  test('leaves alone what it cannot judge', () => {
    const entries = [
      entry('new', day(1)),
      entry('foreign', day(90), { guest: null }),
      entry('timeless', 0),
      entry('sealed.vma.age', 0, { unreadable: 'no key', uuid: '', guest: null }),
    ]
    assert.ok(plan(entries, { last: 1 }).every(({ stays }) => stays))
    // An incremental archive that cannot be read may need any other in its folder.
    const sealed = entry('x.vmi.age', 0, { unreadable: 'no key', uuid: '', guest: null, kind: 'incremental' })
    const two = [
      entry('new', day(1)),
      entry('old', day(2)),
      entry('elsewhere', day(3), { place: '/srv/other/elsewhere' }),
    ]
    assert.equal(told(plan([...two, sealed], { last: 1 })).old, "stays: 'x.vmi.age' cannot be read, and may need it")
  })

  test('counts for each guest and each folder alone, and refuses rules that keep nothing', () => {
    const entries = [entry('a', day(1)), entry('b', day(2), { guest: 'db' }), entry('c', day(3), { place: '/mnt/c' })]
    assert.ok(plan(entries, { last: 1 }).every(({ stays }) => stays))
    assert.throws(() => plan(entries, { last: 0 }), /no rule keeps any archive/)
    assert.throws(() => plan(entries, { daily: -1 }), /is no number of archives/)
    assert.throws(() => plan(entries, { within: 'long' }), /no time span/)
  })

  test('removes children before their parents', () => {
    const chain = [
      entry('full', day(9)),
      entry('one', day(8), { parent: 'full' }),
      entry('two', day(7), { parent: 'one' }),
      entry('new', day(1)),
    ]
    const order = inOrderOfRemoval(plan(chain, { last: 1 }), new Families(chain))
    assert.deepEqual(
      order.map(({ name }) => name),
      ['two', 'one', 'full'],
    )
  })
})

describe('a plan for any archives', () => {
  const count = fc.option(fc.nat(3), { nil: undefined })
  const keeps = fc
    .record({
      last: count,
      daily: count,
      weekly: count,
      monthly: count,
      within: fc.option(fc.constantFrom('1d', '2w'), { nil: undefined }),
    })
    .filter((keep) => Object.values(keep).some((value) => typeof value === 'string' || (value ?? 0) > 0))
  const one = fc.record({
    age: fc.integer({ min: 0, max: 120 * 86_400 }),
    /** The number of another archive; many are no archive, itself, or a younger one: chains of hostile archives too. */
    parent: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 2, arbitrary: fc.nat(24) }),
    guest: fc.constantFrom('web', 'web', 'web', 'db', 'db', null),
    protected: fc.nat(11).map((number) => number === 0),
    fails: fc.nat(9).map((number) => number === 0),
    unreadable: fc.nat(200).map((number) => number === 0),
    inUse: fc.nat(15).map((number) => number === 0),
  })

  test('never lets go what must stay, whatever the archives are', () => {
    let removed = 0
    fc.assert(
      fc.property(fc.array(one, { maxLength: 25, size: 'max' }), keeps, (all, keep) => {
        const entries = all.map(({ age, parent, guest, fails, unreadable, inUse: _, ...rest }, index) =>
          entry(`n${index}`, NOW / 1000 - age, {
            guest,
            ...rest,
            parent: parent === null ? null : `n${parent}`,
            checks: fails ? failed : [],
            ...(unreadable && { unreadable: 'damaged', uuid: '', guest: null }),
          }),
        )
        const inUse = new Set(entries.filter((_, index) => all[index].inUse).map(({ place }) => place))
        const verdicts = prunePlan(entries, keep, { now: NOW, inUse, timeZone: 'UTC' })
        const stays = new Set(verdicts.filter((verdict) => verdict.stays).map((verdict) => verdict.entry))
        const families = new Families(entries)
        for (const { entry, reasons } of verdicts) assert.ok(reasons.length > 0, entry.name)
        for (const entry of stays)
          for (const parent of families.parentsOf(entry)) assert.ok(stays.has(parent), 'a parent')
        for (const entry of entries) {
          const must =
            entry.protected || inUse.has(entry.place) || entry.guest === null || entry.unreadable !== undefined
          if (must) assert.ok(stays.has(entry), `${entry.name} must stay`)
        }
        for (const guest of ['web', 'db']) {
          const good = entries.filter((entry) => entry.guest === guest && families.isGood(entry))
          const newest = good.toSorted((a, b) => b.ctime - a.ctime)[0]
          if (newest !== undefined)
            assert.ok(
              good.some((entry) => entry.ctime === newest.ctime && stays.has(entry)),
              'the newest good one',
            )
        }
        // After each single removal, whatever is left of good archives is still good.
        const order = inOrderOfRemoval(verdicts, families)
        removed += order.length
        const left = new Set(entries)
        for (const entry of order) {
          left.delete(entry)
          const now = new Families([...left])
          for (const other of left)
            if (families.isGood(other)) assert.ok(now.isGood(other), `${other.name} after ${entry.name}`)
        }
        // What is left is what stays, but for forged rings; and a second run has nothing to do.
        const again = prunePlan([...left], keep, { now: NOW, inUse, timeZone: 'UTC' })
        assert.deepEqual(inOrderOfRemoval(again, new Families([...left])), [])
      }),
      { numRuns: 500 },
    )
    assert.ok(removed > 400, `${removed} were removed`)
  })
})

test('times of entries are seconds', () => assert.equal(at('1970-01-02T00:00:00Z'), 86_400))
