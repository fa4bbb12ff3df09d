/** What is shown of a fleet. Names of guests and what hosts say are hostile, so each line is made printable. */

import { columns } from '../../core/columns.ts'
import { printable } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import type {
  CentralJobRow,
  FleetGuestRow,
  FleetStatus,
  HostRow,
  JobRow,
  TokenRow,
  WorkRow,
} from '../../fleet/fleet.ts'
import type { AgentArchive } from '../../fleet/messages/events.ts'
import { localTime } from '../../jobs/summary.ts'
import { count, formatDuration, styled } from '../text.ts'

type FleetArchive = AgentArchive & { host: string; job: string }

/** The longest text in a column, in characters. */
const LONGEST = 200

function cell(text: string | null | undefined): string {
  if (text === null || text === undefined || text === '') return '-'
  const shown = printable(text)
  return shown.length > LONGEST ? `${shown.slice(0, LONGEST - 1)}…` : shown
}

function table(head: readonly string[], rows: readonly (readonly (string | null | undefined)[])[]): string[] {
  return columns([head, ...rows.map((row) => row.map(cell))])
}

function time(iso: string | null): string {
  return iso === null ? 'never' : localTime(iso)
}

/** How long ago, for people: "4s", "2h 07m", "3d". */
function ago(iso: string | null, now: number): string {
  if (iso === null) return 'never'
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000)
  if (!Number.isFinite(seconds)) return iso
  return seconds < 172_800 ? formatDuration(Math.round(seconds)) : `${Math.floor(seconds / 86_400)}d`
}

/** Such as "3 up, 1 gone"; what there is none of is left out. */
function counts(numbers: Readonly<Record<string, number>>): string {
  const some = Object.entries(numbers).filter(([, number]) => number > 0)
  return some.length === 0 ? 'none' : some.map(([word, number]) => `${number} ${printable(word)}`).join(', ')
}

export function statusLines(status: FleetStatus, now = Date.now()): string[] {
  const { hosts, guests, running, waiting, problems } = status
  return [
    `hosts: ${counts(hosts)}`,
    `guests: ${counts(guests)}`,
    ...problems.map((problem) => `${styled('yellow', 'WARNING:')} ${printable(problem)}`),
    ...part(`${count(running.length, 'work')} running`, running, (work) => runningCells(work, now)),
    ...part(`${count(waiting.length, 'work')} waiting`, waiting, waitingCells),
  ]
}

/** Rows of a list that are shown in a status; --json has all of them. */
const MOST_ROWS = 40

function part(title: string, works: readonly WorkRow[], cells: (work: WorkRow) => (string | null)[]): string[] {
  if (works.length === 0) return []
  const rows = works.slice(0, MOST_ROWS).map((work) => cells(work).map(cell))
  const more = works.length - MOST_ROWS
  return ['', `${title}:`, ...columns(rows).map((line) => `  ${line}`), ...(more > 0 ? [`  and ${more} more`] : [])]
}

function runningCells(work: WorkRow, now: number): (string | null)[] {
  return [what(work), work.host, work.job, `since ${ago(work.began, now)}`, progressOf(work.progress), work.id]
}

function waitingCells(work: WorkRow): (string | null)[] {
  return [what(work), work.host, work.job, work.reason ?? 'is next', work.id]
}

/** The guest, or what is done if it is no backup. */
function what({ kind, guest }: WorkRow): string {
  return kind === 'run' ? (guest ?? 'all guests') : guest === null ? kind : `${kind} ${guest}`
}

/** What a host tells of a backup may be anything. */
function progressOf(progress: Record<string, unknown> | null): string {
  const { done, total } = (progress?.snapshot ?? progress ?? {}) as Record<string, unknown>
  if (typeof done === 'number' && typeof total === 'number' && total > 0)
    return `${Math.min(100, Math.floor((done / total) * 100))}% of ${formatBytes(total)}`
  return typeof progress?.phase === 'string' ? progress.phase : ''
}

export function hostLines(hosts: readonly HostRow[], now = Date.now()): string[] {
  if (hosts.length === 0)
    return ['there are no hosts yet; `vmapipe fleet token new HOST` makes a token for the agent of one']
  const rows = hosts.map(({ host, state, seen, version, labels, guests, running, parallel, warnings }) => [
    ...[host, state, seen === null ? 'never' : `${ago(seen, now)} ago`, version, labels.join(' ')],
    ...[String(guests), parallel === null ? String(running) : `${running} of ${parallel}`],
    warnings.join('; '),
  ])
  return table(['host', 'state', 'seen', 'version', 'labels', 'guests', 'runs', ''], rows).map(trimDash)
}

/** The last column has notes alone: nothing is there if there are none. */
function trimDash(line: string): string {
  return line.replace(/ +-$/, '')
}

const ORDER: Record<string, number> = { unprotected: 0, overdue: 1, late: 2, good: 3 }

/** The unprotected ones first, then those whose last good backup is oldest. */
export function guestLines(guests: readonly FleetGuestRow[], now = Date.now()): string[] {
  if (guests.length === 0) return ['no host has told of any guest yet']
  const sorted = guests.toSorted(
    (a, b) => (ORDER[a.state] ?? 9) - (ORDER[b.state] ?? 9) || (a.lastGood ?? '').localeCompare(b.lastGood ?? ''),
  )
  const rows = sorted.map(({ name, host, state, lastGood, jobs, size, problem }) => [
    ...[name, host, state, lastGood === null ? 'never' : `${ago(lastGood, now)} ago`],
    ...[jobs.join(' '), size === null ? null : formatBytes(size), problem],
  ])
  return table(['guest', 'host', 'state', 'last good', 'jobs', 'size', ''], rows).map(trimDash)
}

export function jobLines(jobs: readonly JobRow[]): string[] {
  if (jobs.length === 0) return ['no host has told of any job yet']
  const rows = jobs.map(({ name, host, central, schedule, next, guests, problem }) => [
    ...[name, host, central ? 'central' : 'own', schedule.join(', '), next.length === 0 ? null : time(next[0])],
    ...[String(guests.length), problem],
  ])
  return table(['job', 'host', 'kind', 'schedule', 'next', 'guests', ''], rows).map(trimDash)
}

export function workLines(works: readonly WorkRow[]): string[] {
  if (works.length === 0) return ['there are no such works']
  const rows = works.map((work) => [
    ...[localTime(work.due), work.kind, work.guest, work.host, work.job, work.state, tookOf(work)],
    ...[work.id, work.attempt > 1 ? `attempt ${work.attempt}${work.reason ? `: ${work.reason}` : ''}` : work.reason],
  ])
  return table(['due', 'work', 'guest', 'host', 'job', 'state', 'took', 'id', ''], rows).map(trimDash)
}

function tookOf({ began, ended }: WorkRow): string | null {
  if (began === null || ended === null) return null
  return formatDuration(Math.max(0, (Date.parse(ended) - Date.parse(began)) / 1000))
}

export function archiveLines(archives: readonly FleetArchive[]): string[] {
  if (archives.length === 0) return ['there are no such archives']
  const rows = archives
    .toSorted((a, b) => b.ctime - a.ctime)
    .map(({ guest, ctime, kind, size, host, job, place, checks, protected: isProtected, unreadable }) => [
      ...[guest, madeOf(ctime), kind, formatBytes(size), host, job, place],
      [
        unreadable,
        isProtected ? 'protected' : null,
        ...checks.map((check) => `${check.kind}: ${check.passed === true ? 'passed' : 'failed'}`),
      ]
        .filter(Boolean)
        .join('; '),
    ])
  return table(['guest', 'made', 'kind', 'size', 'host', 'job', 'archive', ''], rows).map(trimDash)
}

/** What a host says may be no time at all. */
function madeOf(seconds: number): string | null {
  const made = new Date(seconds * 1000)
  return seconds <= 0 || Number.isNaN(made.getTime()) ? null : localTime(made.toISOString())
}

export function centralLines(jobs: readonly CentralJobRow[]): string[] {
  if (jobs.length === 0) return ['there are no central jobs; `vmapipe fleet job put FILE` adds one']
  const rows = jobs.map(({ name, labels, hosts, problem }) => [name, labels.join(' '), hosts.join(' '), problem])
  return table(['job', 'labels', 'hosts', ''], rows).map(trimDash)
}

export function tokenLines(tokens: readonly TokenRow[]): string[] {
  if (tokens.length === 0) return ['there are no tokens; `vmapipe fleet token new HOST` makes one']
  const rows = tokens.map(({ id, name, kind, guests, created, used, revoked }) => [
    ...[id, kind, name, guests.length === 0 ? 'all' : guests.join(' '), time(created), time(used)],
    revoked === null ? null : `revoked ${time(revoked)}`,
  ])
  return table(['id', 'kind', 'name', 'guests', 'made', 'used', ''], rows).map(trimDash)
}
