import assert from 'node:assert/strict'
import { test } from 'node:test'
import { barLine } from '../../../src/cli/progress/bar.ts'
import { formatDuration } from '../../../src/cli/progress/duration.ts'
import { JsonDisplay } from '../../../src/cli/progress/json.ts'
import { Meter } from '../../../src/cli/progress/meter.ts'
import { PlainDisplay } from '../../../src/cli/progress/plain.ts'
import { Counters } from '../../../src/core/counters.ts'

const MIB = 1 << 20

/** A run of `total` bytes at 100 MiB/s, on a clock of its own. */
function steadyRun(total: number | null) {
  const counters = new Counters()
  if (total !== null) counters.set('total', total)
  let now = 1000
  const meter = new Meter(counters, () => now)
  return {
    meter,
    advance(seconds: number) {
      now += seconds
      counters.add('done', seconds * 100 * MIB)
      counters.add('read', seconds * 80 * MIB)
      counters.add('zero', seconds * 20 * MIB)
      counters.add('written', seconds * 40 * MIB)
    },
  }
}

test('rates, percentage and the time left follow the counters', () => {
  const { meter, advance } = steadyRun(1000 * MIB)
  for (let i = 0; i < 12; i++) {
    advance(0.25)
    meter.look()
  }
  const snapshot = meter.look()
  assert.equal(snapshot.elapsed, 3)
  assert.equal(snapshot.percent, 30)
  assert.equal(snapshot.readRate, 80 * MIB)
  assert.equal(snapshot.writeRate, 40 * MIB)
  assert.equal(snapshot.eta, 7)
})

test('a rate is that of the last seconds, the summary that of the whole run', () => {
  const counters = new Counters()
  let now = 0
  const meter = new Meter(counters, () => now)
  for (now = 1; now <= 20; now++) {
    if (now <= 10) counters.add('read', 100)
    meter.look()
  }
  now = 20
  assert.equal(meter.look().readRate, 0)
  assert.equal(meter.summary().readRate, 50)
})

test('without a total there is no percentage, and nothing is divided by nothing', () => {
  const { meter, advance } = steadyRun(null)
  assert.deepEqual([meter.look().percent, meter.look().eta, meter.look().readRate], [null, null, 0])
  advance(1)
  assert.deepEqual([meter.look().percent, meter.look().eta], [null, null])
})

test('plain lines come ever more seldom: a day of backup is no more than some hundred', () => {
  const { meter, advance } = steadyRun(86400 * 100 * MIB)
  const lines: string[] = []
  const display = new PlainDisplay((line) => lines.push(line), { progress: true })
  for (let i = 0; i < 86400; i++) {
    advance(1)
    display.update(meter.look())
  }
  assert.ok(lines.length > 100 && lines.length < 400, `${lines.length} lines`)
  assert.equal(
    lines[1],
    'INFO:   0% (200.0 MiB of 8.2 TiB) in 2.0s, read: 80.0 MiB/s, write: 40.0 MiB/s, zero: 40.0 MiB',
  )
})

test('a warning comes at once, as one line', () => {
  const lines: string[] = []
  new PlainDisplay((line) => lines.push(line), { progress: false }).note('warning', 'drive a\nb')
  assert.match(lines.join('\n'), /^.*WARNING:.* drive a\\u\{a\}b$/)
})

test('the bar keeps to the width of the terminal', () => {
  const { meter, advance } = steadyRun(1000 * MIB)
  advance(3)
  const snapshot = meter.look()
  const wide = barLine('backup', snapshot, 200)
  assert.equal(
    wide,
    'backup   30%  [#######-----------------]  300.0 MiB of 1000.0 MiB  read 80.0 MiB/s  write 40.0 MiB/s  zero 60.0 MiB  ETA 7.0s',
  )
  for (const columns of [120, 80, 60, 20]) assert.ok(barLine('backup', snapshot, columns).length < columns)
  assert.match(barLine('backup', snapshot, 80), /30%.*ETA 7\.0s$/)
})

test('JSON lines have the documented fields, and end with the whole run', () => {
  const { meter, advance } = steadyRun(1000 * MIB)
  const lines: string[] = []
  const display = new JsonDisplay('backup', (line) => lines.push(line))
  advance(0.25)
  display.update(meter.look())
  display.note('warning', 'a "quoted"\nline')
  advance(0.25)
  display.update(meter.look())
  display.end(meter.summary())
  const records = lines.map((line) => JSON.parse(line))
  assert.deepEqual(
    records.map(({ type }) => type),
    ['progress', 'note', 'end'],
  )
  assert.deepEqual(records[1], { type: 'note', job: 'backup', level: 'warning', text: 'a "quoted"\nline' })
  const fields = 'archive,done,elapsed,eta,job,percent,read,readRate,total,type,writeRate,written,zero'
  assert.equal(Object.keys(records[2]).sort().join(), fields)
  assert.equal(records[2].done, 50 * MIB)
})

test('durations are short and never say 60 seconds', () => {
  const cases: [number, string][] = [
    [0, '0.0s'],
    [0.44, '0.4s'],
    [9.96, '10s'],
    [59.4, '59s'],
    [59.6, '1m 00s'],
    [185, '3m 05s'],
    [3599.9, '1h 00m'],
    [7620, '2h 07m'],
  ]
  for (const [seconds, text] of cases) assert.equal(formatDuration(seconds), text)
})
