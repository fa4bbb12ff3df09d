import assert from 'node:assert/strict'
import { test } from 'node:test'
import { durationText, parseDuration } from '../../src/core/duration.ts'
import { waitDuration } from '../../src/core/duration-option.ts'

test('a duration is milliseconds, seconds or minutes, and seconds without a unit', () => {
  const cases: [string, number | undefined][] = [
    ['10s', 10_000],
    ['10', 10_000],
    ['500ms', 500],
    ['1.5s', 1500],
    ['2m', 120_000],
    [' 1s ', 1000],
    ['', undefined],
    ['s', undefined],
    ['-1s', undefined],
    ['1h', undefined],
    ['1e3', undefined],
  ]
  for (const [text, milliseconds] of cases) assert.equal(parseDuration(text), milliseconds, text)
})

test('its shortest text gives it again', () => {
  for (const milliseconds of [100, 2500, 10_000, 3_600_000])
    assert.equal(parseDuration(durationText(milliseconds)), milliseconds)
  assert.deepEqual([durationText(10_000), durationText(2500)], ['10s', '2500ms'])
})

test('an option of how long a guest may wait has bounds', () => {
  const schema = waitDuration()
  for (const [value, milliseconds] of [
    ['10s', 10_000],
    [10, 10_000],
    [0.5, 500],
    ['60m', 3_600_000],
  ] as const)
    assert.equal(schema.parse(value), milliseconds)
  for (const value of ['99ms', '61m', 'soon', 0, -1, Number.NaN, null, undefined, {}, 1e-9]) {
    const { error } = schema.safeParse(value)
    assert.match(error!.issues[0].message, /expected a time such as 10s, from 100ms to 60m/)
  }
})
