/** Shows archives of a place: as a table, and as JSON. The schemas are in archives-schema.ts. */

import type { CatalogEntry, Check } from '../catalog/entry.ts'
import { Families, hasFailed } from '../catalog/families.ts'
import type { Verdict } from '../catalog/prune-plan.ts'
import { printable } from '../core/errors.ts'
import { formatBytes } from '../core/size.ts'
import { columns, styled } from './text.ts'
import { localTime } from './when.ts'

/** Characters of notes that the table shows. */
const MOST_NOTES = 40
/** The most archives of a chain that are counted: a forged one has no end. */
const MOST_DEPTH = 100_000

/** One line for each archive, with a line of headings. */
export function archiveLines(shown: readonly CatalogEntry[], all: readonly CatalogEntry[]): string[] {
  const families = new Families(all)
  const rows = shown.map((entry) => [
    printable(entry.guest ?? '-'),
    localTime(entry.ctime > 0 ? entry.ctime * 1000 : null),
    kindText(entry, families),
    formatBytes(entry.size).padStart(10),
    verifiedText(entry),
    flagsText(entry),
    printable(entry.name),
    notesText(entry),
  ])
  const heads = ['GUEST', 'TIME', 'KIND', 'SIZE'.padStart(10), 'VERIFIED', 'STATE', 'NAME', 'NOTES']
  const [first, ...lines] = columns([heads, ...rows])
  return [styled('bold', first), ...lines]
}

/** The table of what stays and what goes, and why. */
export function verdictLines(verdicts: readonly Verdict[]): string[] {
  const rows = verdicts.map(({ entry, stays, reasons }) => [
    printable(entry.guest ?? '-'),
    localTime(entry.ctime > 0 ? entry.ctime * 1000 : null),
    entry.kind,
    formatBytes(entry.size).padStart(10),
    stays ? 'stays' : 'goes',
    printable(reasonsText(reasons)),
    printable(entry.name),
  ])
  const heads = ['GUEST', 'TIME', 'KIND', 'SIZE'.padStart(10), '', 'WHY', 'NAME']
  const [first, ...lines] = columns([heads, ...rows])
  return [styled('bold', first), ...lines]
}

function reasonsText(reasons: readonly string[]): string {
  const [one, two, ...more] = reasons
  return [one, two, more.length > 0 ? `${more.length} more` : undefined].filter((text) => text !== undefined).join(', ')
}

function kindText(entry: CatalogEntry, families: Families): string {
  if (entry.kind === 'full' || entry.uuid === '') return entry.kind
  if (!families.isGood(entry) && !hasFailed(entry)) return 'incremental, broken chain'
  return `incremental ${depthOf(entry, families)}`
}

/** The number of archives that it needs. */
function depthOf(entry: CatalogEntry, families: Families): number {
  let depth = 0
  for (let at = families.parentsOf(entry)[0]; at !== undefined && depth < MOST_DEPTH; at = families.parentsOf(at)[0])
    depth++
  return depth
}

/** When its data was last checked, and what failed. */
function verifiedText({ checks }: CatalogEntry): string {
  const latest = latestCheck(checks)
  if (latest === null) return '-'
  return latest.passed ? localTime(latest.at) : `FAILED ${localTime(latest.at)}`
}

function latestCheck(checks: readonly Check[]): Check | null {
  return checks.reduce<Check | null>(
    (latest, check) => (latest === null || Date.parse(check.at) > Date.parse(latest.at) ? check : latest),
    null,
  )
}

function flagsText(entry: CatalogEntry): string {
  const words = [
    entry.unreadable !== undefined && !entry.encrypted && 'unreadable',
    entry.encrypted && 'encrypted',
    entry.protected && 'protected',
  ].filter(Boolean)
  return words.length === 0 ? '-' : words.join(',')
}

function notesText({ notes }: CatalogEntry): string {
  const [first = ''] = (notes ?? '').split('\n')
  return printable(first.length > MOST_NOTES ? `${first.slice(0, MOST_NOTES)}…` : first)
}

/** An archive as JSON. */
export function archiveJson(entry: CatalogEntry, families: Families): object {
  const { ctime, uuid, parent, unreadable, isLocked: _, checks, ...rest } = entry
  const time = new Date(ctime * 1000)
  return {
    ...rest,
    uuid: uuid || null,
    time: ctime > 0 && !Number.isNaN(time.getTime()) ? time.toISOString() : null,
    ctime: ctime > 0 ? ctime : null,
    parent,
    depth: uuid === '' ? null : depthOf(entry, families),
    good: families.isGood(entry),
    verified: latestCheck(checks.filter(({ passed }) => passed))?.at ?? null,
    checks,
    unreadable: unreadable ?? null,
  }
}
