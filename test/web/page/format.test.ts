import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { dayTime, promised } from '../../../src/web/page/format.ts'

describe('a time on the page', () => {
  test('has its year if that is another one, as archives may be old', () => {
    const now = new Date()
    const year = now.getFullYear()
    assert.doesNotMatch(dayTime(now.getTime()), new RegExp(String(year)))
    const before = new Date(year - 2, 5, 15, 14, 22).getTime()
    assert.equal(dayTime(before), `Jun 15, ${year - 2}, 14:22`)
  })
})

test('a promise is not rounded to what it is not', () => {
  const texts = [2700, 5400, 86_400, 129_600, 648_000].map(promised)
  assert.deepEqual(texts, ['45 min', '1.5 h', '24 h', '36 h', '7.5 d'])
})
