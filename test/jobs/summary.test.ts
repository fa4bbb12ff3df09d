import assert from 'node:assert/strict'
import { test } from 'node:test'
import { localTime, summaryLines } from '../../src/jobs/summary.ts'
import { guestReport, runReport } from './report.ts'

test('the summary begins with what failed, and has a line for each guest', () => {
  const lines = summaryLines(
    runReport(
      [
        guestReport('web', { verified: true, booted: true }),
        guestReport('db', { outcome: 'failed', attempts: 3, reason: 'connection refused', hint: 'is it running?' }),
        { guest: 'old', outcome: 'skipped', attempts: 0, reason: 'it is shut off', places: [], warnings: ['no agent'] },
      ],
      { removed: [{ place: '/srv/backup', archives: 2, bytes: 3 * 2 ** 30 }], next: '2026-11-30T00:30:00.000Z' },
    ),
  )
  assert.equal(lines[0], 'db failed after 3 attempts: connection refused; is it running?')
  assert.equal(lines[1], 'old skipped: it is shut off')
  assert.match(lines[4], /^web +done +full +12s +40\.0 MiB +9\.0 MiB +3\.3 MiB\/s +4 ms +yes, booted$/)
  assert.match(lines[6], /^old +skipped +-/)
  assert.ok(lines.includes('old: warning: no agent'))
  assert.ok(lines.includes('removed from /srv/backup: 2 archives, 3.0 GiB'))
  assert.ok(lines.some((line) => /^nightly on host1: started .* took 12m 30s$/.test(line)))
  assert.match(lines.at(-1)!, /^next run: /)
})

test('times are in the zone of the user', (t) => {
  const before = process.env.TZ
  t.after(() => {
    if (before === undefined) delete process.env.TZ
    else process.env.TZ = before
  })
  process.env.TZ = 'Asia/Kolkata'
  assert.match(localTime('2026-11-29T23:30:00Z'), /^2026-11-30 05:00 (GMT\+5:30|IST)$/)
  process.env.TZ = 'UTC'
  assert.equal(localTime('2026-11-29T23:30:00Z'), '2026-11-29 23:30 UTC')
  assert.equal(localTime('yesterday'), 'yesterday')
})
