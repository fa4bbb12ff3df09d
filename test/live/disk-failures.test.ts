import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../src/core/errors.ts'
import { DiskFailures } from '../../src/live/disk-failures.ts'

const failure = (what: string) => ({
  ...{ exportName: 'd', command: 'READ', offset: 0, length: 512 },
  error: new VmapipeError('FAILED', what),
})

test('a failure is told once, then how often it happened', async (t) => {
  const told: string[] = []
  const failures = new DiskFailures((line) => told.push(line), 50)
  t.after(() => failures.end())
  for (let times = 0; times < 1000; times++) failures.note(failure('the same'))
  assert.equal(told.length, 1)
  assert.match(told[0], /^READ of d failed: .*the same/)
  while (told.length < 2) await sleep(5)
  assert.match(told[1], /^999 more failed requests in 0 s, the last: READ of d failed: .*the same/)
})

test('the log neither overflows nor falls silent', async () => {
  const told: string[] = []
  const failures = new DiskFailures((line) => told.push(line), 40)
  for (let round = 0; round < 5; round++) {
    for (let times = 0; times < 500; times++) failures.note(failure(`fault ${round} ${times}`))
    const before = told.length
    while (told.length === before) await sleep(5)
  }
  failures.note(failure('the very last'))
  assert.equal(told.filter((line) => line.includes('fault 4')).length > 1, true)
  assert.match(told.at(-1)!, /the very last/)
  assert.ok(told.length <= 5 * 11 + 1, `${told.length} lines of 2501 failures`)
  failures.note(failure('the very last'))
  failures.end()
  assert.match(told.at(-1)!, /^1 more failed requests/)
})
