import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Arena } from '../../src/core/arena.ts'
import { Budget } from '../../src/core/budget.ts'
import { seed, seeded } from '../support/random.ts'

const PAGE = 65_536

describe('an arena', () => {
  test('lends all of it, small parts from the front and large ones from the end', () => {
    const arena = Arena.of(16 * PAGE)
    const small = arena.take(PAGE + 1)!
    const large = arena.take(14 * PAGE)!
    assert.equal(small.byteLength, PAGE + 1)
    assert.equal(small.byteOffset, 0)
    assert.equal(large.byteOffset, 2 * PAGE)
    assert.equal(arena.take(1), null)
    arena.giveBack(small)
    assert.equal(arena.take(3 * PAGE), null, 'not so many in one piece')
    assert.equal(arena.take(2 * PAGE)?.byteOffset, 0)
  })

  test('is idle when everything is back', () => {
    const arena = Arena.of(3 * PAGE)
    const parts = [arena.take(5)!, arena.take(PAGE)!]
    assert.equal(arena.isIdle, false)
    for (const part of parts) arena.giveBack(part)
    assert.equal(arena.isIdle, true)
    assert.equal(arena.take(3 * PAGE)?.byteLength, 3 * PAGE)
  })

  test(`never lends a byte twice, and finds room where there is some (seed ${seed})`, () => {
    const random = seeded(seed)
    const arena = Arena.of(40 * PAGE)
    const owner = new Array<number>(40).fill(0)
    const lent = new Map<number, Buffer>()
    const pagesOf = (part: Buffer) => {
      const first = (part.byteOffset - arena.memory.byteOffset) / PAGE
      return Array.from({ length: Math.ceil(part.byteLength / PAGE) }, (_, index) => first + index)
    }
    for (let step = 1; step <= 20_000; step++) {
      if (random() < 0.5 && lent.size > 0) {
        const [id] = [...lent.keys()].slice(Math.floor(random() * lent.size))
        for (const page of pagesOf(lent.get(id)!)) owner[page] = 0
        arena.giveBack(lent.get(id)!)
        lent.delete(id)
        continue
      }
      const bytes = Math.ceil(random() ** 2 * 20 * PAGE)
      const part = arena.take(bytes)
      const wanted = Math.ceil(bytes / PAGE)
      const longest = Math.max(
        ...owner
          .join('')
          .split(/[^0]+/)
          .map(({ length }) => length),
      )
      assert.equal(part !== null, wanted <= longest, `${wanted} pages, ${longest} free in one piece`)
      if (part === null) continue
      lent.set(step, part)
      for (const page of pagesOf(part)) {
        assert.equal(owner[page], 0)
        owner[page] = 9
      }
    }
  })

  test('is where a budget and its parts take from, as far as it goes', async () => {
    const arena = Arena.of(4 * PAGE)
    const budget = new Budget(8 * PAGE, 'the budget', arena)
    const part = budget.carve(2 * PAGE, 'a part')
    const slabs = [await part.take(PAGE), await budget.take(2 * PAGE), await budget.take(2 * PAGE)]
    assert.deepEqual(
      slabs.map(({ buffer }) => buffer.buffer === arena.memory.buffer),
      [true, true, false],
    )
    assert.equal(budget.used, 5 * PAGE)
    budget.close(new Error('over'))
    assert.equal(arena.isIdle, false, 'what is lent comes back later')
    for (const slab of slabs) slab.release()
    assert.equal(budget.used, 0)
    assert.ok(arena.isIdle)
  })

  test('is carved into parts that nobody else breaks up, and that come back', () => {
    const arena = Arena.of(4 * PAGE)
    const part = arena.carve(2 * PAGE)!
    const [one, other] = [arena.take(PAGE)!, arena.take(PAGE)!]
    assert.equal(arena.take(1), null)
    assert.equal(arena.carve(1), undefined)
    const lent = part.take(2 * PAGE)!
    assert.equal(lent.buffer, arena.memory.buffer)
    part.close()
    for (const page of [one, other]) arena.giveBack(page)
    assert.equal(arena.isIdle, false)
    part.giveBack(lent)
    assert.ok(arena.isIdle)
    assert.equal(arena.take(4 * PAGE)?.byteLength, 4 * PAGE)
  })
})
