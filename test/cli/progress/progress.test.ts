import assert from 'node:assert/strict'
import { test } from 'node:test'
import { barLine, guestBarLine } from '../../../src/cli/progress/bar.ts'
import { errorRecord, JsonDisplay } from '../../../src/cli/progress/json.ts'
import { PlainDisplay } from '../../../src/cli/progress/plain.ts'
import { record } from '../../../src/cli/progress/records.ts'
import { formatDuration } from '../../../src/cli/text.ts'
import { Counters } from '../../../src/core/counters.ts'
import { VmapipeError } from '../../../src/core/errors.ts'
import { Meter } from '../../../src/core/meter.ts'

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

const options = { everything: true }

test('plain lines come every tenth of the way, or ever more seldom: a day of backup is no more than some hundred', () => {
  const slow = steadyRun(86400 * 100 * MIB)
  const lines: string[] = []
  const display = new PlainDisplay('backup', (line) => lines.push(line), options)
  for (let i = 0; i < 86400; i++) {
    slow.advance(1)
    display.update(slow.meter.look())
  }
  assert.ok(lines.length > 100 && lines.length < 400, `${lines.length} lines`)
  assert.equal(
    lines[1],
    'INFO:   0% (5.9 GiB of 8.2 TiB) in 1m 00s, read: 80.0 MiB/s, write: 40.0 MiB/s, zero: 1.2 GiB',
  )
  const fast = steadyRun(10_000 * MIB)
  lines.length = 0
  const other = new PlainDisplay('backup', (line) => lines.push(line), options)
  for (let i = 0; i < 1000; i++) {
    fast.advance(0.1)
    other.update(fast.meter.look())
  }
  assert.ok(lines.length >= 9 && lines.length <= 13, lines.join('\n'))
})

const waiting = { count: 12, p50: 1, p99: 20, max: 22.14, now: 0 }
const guest = {
  since: 1,
  clusters: { total: 100, scanned: 50, copied: 10 },
  copies: { reads: 1, archived: 1, requests: 1 },
  waiting,
  buffer: { used: MIB, size: 64 * MIB, highest: MIB, full: null },
  counters: {},
}

test('the guest has no lines of its own in a log: the longest wait is told with the progress', () => {
  const { meter, advance } = steadyRun(1000 * MIB)
  const lines: string[] = []
  const display = new PlainDisplay('backup', (line) => lines.push(line), options)
  for (let i = 0; i < 20; i++) display.guest(guest)
  assert.deepEqual(lines, [])
  advance(1)
  display.update(meter.look())
  assert.match(lines.join('\n'), /^INFO: +10% .*, writes waited at most 22\.1 ms, buffer 1\.0 MiB of 64\.0 MiB$/)
})

test('--progress none is warnings and the summary', () => {
  const { meter, advance } = steadyRun(1000 * MIB)
  const lines: string[] = []
  const display = new PlainDisplay('backup', (line) => lines.push(line), { everything: false })
  advance(60)
  display.update(meter.look())
  display.note('info', 'backup of drives')
  display.note('warning', 'drive a\nb')
  display.summary(['backed up'])
  display.exit(0, 60)
  assert.match(lines.join('|'), /^.*WARNING:.* drive a\\u\{a\}b\|INFO: backed up$/)
})

test('a log has the time on every line, and ends with the exit code; what failed before it began has one line elsewhere', () => {
  const lines: string[] = []
  const log = () => new PlainDisplay('backup', (line) => lines.push(line), { everything: true, stamped: true })
  log().exit(2, 0)
  assert.deepEqual(lines, [])
  const display = log()
  display.note('info', 'backup of drives')
  display.exit(1, 62)
  assert.match(lines[0], /^INFO: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d backup of drives$/)
  assert.match(lines[1], /^.*ERROR:.* [-\d]+ [:\d]+ backup failed after 1m 02s, exit code 1$/)
})

test('the line about the guest keeps to the width of the terminal', () => {
  assert.equal(
    guestBarLine(guest, 200),
    'guest: longest wait 22.1 ms  p99 20.0 ms  buffer 1.0 MiB of 64.0 MiB  12 waits  10 clusters copied',
  )
  for (const columns of [80, 60, 40]) assert.ok(guestBarLine(guest, columns).length < columns)
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

test('JSON lines fit their schema, and end with the whole run', () => {
  const { meter, advance } = steadyRun(1000 * MIB)
  const lines: string[] = []
  const display = new JsonDisplay('backup', (line) => lines.push(line))
  advance(0.25)
  display.update(meter.look())
  display.note('warning', 'a "quoted"\nline')
  display.guest(guest)
  advance(0.25)
  display.update(meter.look())
  display.summary(['for people'], meter.summary())
  lines.push(errorRecord(new VmapipeError('DAMAGED', 'x', { offset: 1, hint: 'y' })))
  const records = lines.map((line) => record.parse(JSON.parse(line)))
  assert.deepEqual(
    records.map(({ type }) => type),
    ['progress', 'note', 'guest', 'end', 'error'],
  )
  const text = 'a "quoted"\nline'
  assert.deepEqual(records[1], { version: 1, type: 'note', operation: 'backup', level: 'warning', text })
  assert.equal((records[3] as { done: number }).done, 50 * MIB)
  assert.ok(!record.safeParse({ version: 1, type: 'progress', operation: 'x' }).success, 'the schema refuses something')
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
