/** The report of a run as lines for people: in the journal, in the mail, on the terminal. The caller makes them harmless to print. */

import { columns } from '../core/columns.ts'
import { formatDuration } from '../core/duration.ts'
import { printable } from '../core/errors.ts'
import { formatBytes, formatRate } from '../core/size.ts'
import type { GuestReport, RunReport } from './report.ts'

/** First what went wrong, then a line for each guest, then what was removed and what comes next. */
export function summaryLines(report: RunReport): string[] {
  const { guests, removed, problem, next } = report
  const failures = guests.filter(({ outcome }) => outcome !== 'done')
  return [
    ...(problem === undefined ? [] : [problem]),
    ...failures.map(failureLine),
    ...(failures.length > 0 || problem !== undefined ? [''] : []),
    ...(guests.length === 0 ? [] : [...columns([HEADINGS, ...guests.map(row)]), '']),
    ...guests.flatMap(({ guest, warnings }) => warnings.map((warning) => `${guest}: warning: ${warning}`)),
    ...removed.map(
      ({ place, archives, bytes }) => `removed from ${place}: ${archives} archives, ${formatBytes(bytes)}`,
    ),
    `${report.job} on ${report.host}: started ${localTime(report.started)}, took ${took(report)}`,
    ...(next === null ? [] : [`next run: ${localTime(next)}`]),
  ]
}

const HEADINGS = ['guest', 'outcome', 'kind', 'time', 'read', 'stored', 'rate', 'longest wait', 'verified']

function row(guest: GuestReport): string[] {
  const { seconds, read, stored, longestWait, verified, booted } = guest
  const proof = [
    verified && 'yes',
    verified === false && 'FAILED',
    booted && 'booted',
    booted === false && 'DID NOT BOOT',
  ]
  return [
    printable(guest.guest),
    guest.outcome === 'failed' ? 'FAILED' : guest.already ? 'done already' : guest.outcome,
    guest.kind ?? '-',
    seconds === undefined ? '-' : formatDuration(seconds),
    read === undefined ? '-' : formatBytes(read),
    stored === undefined ? '-' : formatBytes(stored),
    read === undefined || !seconds ? '-' : formatRate(read / seconds),
    longestWait === undefined ? '-' : `${Math.round(longestWait)} ms`,
    proof.filter(Boolean).join(', ') || '-',
  ]
}

function failureLine({ guest, outcome, reason, hint, attempts }: GuestReport): string {
  const tries = attempts > 1 ? ` after ${attempts} attempts` : ''
  return `${guest} ${outcome}${tries}${reason === undefined ? '' : `: ${reason}`}${hint === undefined ? '' : `; ${hint}`}`
}

function took({ started, ended }: RunReport): string {
  const seconds = (Date.parse(ended) - Date.parse(started)) / 1000
  return Number.isFinite(seconds) && seconds >= 0 ? formatDuration(seconds) : 'an unknown time'
}

/** A time in the user's zone, as "2026-11-29 01:30 CET". Text that is no time stays as it is. */
export function localTime(iso: string): string {
  const time = new Date(iso)
  if (Number.isNaN(time.getTime())) return iso
  const parts = new Intl.DateTimeFormat('en-CA', {
    dateStyle: 'short',
    timeStyle: 'short',
    hourCycle: 'h23',
  }).format(time)
  const zone = new Intl.DateTimeFormat('en-US', { timeZoneName: 'short' }).formatToParts(time)
  return `${parts.replace(', ', ' ')} ${zone.find(({ type }) => type === 'timeZoneName')?.value ?? ''}`.trimEnd()
}
