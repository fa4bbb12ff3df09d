/** Reports of runs for tests. */

import type { GuestReport, RunReport } from '../../src/jobs/report.ts'

export function guestReport(guest: string, more: Partial<GuestReport> = {}): GuestReport {
  const numbers = { seconds: 12, read: 40 << 20, stored: 9 << 20, longestWait: 4.2 }
  return {
    guest,
    outcome: 'done',
    attempts: 1,
    kind: 'full',
    places: ['/srv/backup'],
    ...numbers,
    warnings: [],
    ...more,
  }
}

export function runReport(guests: GuestReport[], more: Partial<RunReport> = {}): RunReport {
  const failed = guests.filter(({ outcome }) => outcome !== 'done').length
  return {
    version: 1,
    job: 'nightly',
    run: '0b6e3c1e-0f0a-4c56-9d55-3f1f2c1d9a10',
    host: 'host1',
    started: '2026-11-29T00:30:00.000Z',
    ended: '2026-11-29T00:42:30.000Z',
    outcome: failed === 0 ? 'all' : failed === guests.length ? 'none' : 'some',
    guests,
    removed: [],
    next: null,
    ...more,
  }
}

/** A name that tries to be a header, markup, a command for the terminal, and a word that wakes everybody. */
export const HOSTILE = 'web\r\nBcc: all@example.org\r\n\r\n<script>alert(1)</script> <!channel> \u001b[2J`*_'
