/** What a notification says, as plain text. Names of guests and reasons come from outside: nothing in them breaks a line. */

import { hostname } from 'node:os'
import { printable } from '../../core/errors.ts'
import type { RunReport } from '../report.ts'
import { summaryLines } from '../summary.ts'

/** What has happened. A test is sent to everybody, whatever their `on` says. */
export type NotifyEvent = 'start' | 'success' | 'failure' | 'test'

export interface Message {
  event: NotifyEvent
  /** One line, without names of guests. */
  title: string
  text: string
  report: RunReport
}

const LONGEST_TITLE = 160
/** Characters. A thousand guests that failed take about this much. */
const LONGEST_TEXT = 200_000

export function messageOf(event: NotifyEvent, report: RunReport): Message {
  const title = clip(
    printable(`vmapipe: ${report.job} on ${report.host || hostname()}: ${outcome(event, report)}`),
    LONGEST_TITLE,
  )
  const lines = event === 'start' || event === 'test' ? [outcome(event, report)] : summaryLines(report)
  return { event, title, text: clip(lines.map(printable).join('\n'), LONGEST_TEXT), report }
}

function outcome(event: NotifyEvent, { guests, problem }: RunReport): string {
  if (event === 'test') return 'this is a test: notifications of this job arrive here'
  if (event === 'start') return 'the backup has started'
  if (guests.length === 0) return problem === undefined ? 'there was no guest to back up' : 'the backup failed'
  const failed = guests.filter(({ outcome }) => outcome === 'failed' || outcome === 'canceled').length
  const skipped = guests.filter(({ outcome }) => outcome === 'skipped').length
  const all = guests.length === 1 ? '1 guest' : `${guests.length} guests`
  if (failed > 0) return `${failed} of ${all} failed`
  if (problem !== undefined) return 'the backup failed'
  return skipped > 0 ? `${guests.length - skipped} of ${all} backed up, ${skipped} skipped` : `${all} backed up`
}

export function clip(text: string, most: number): string {
  if (text.length <= most) return text
  // A surrogate pair is not cut in two.
  return `${text.slice(0, most - 1).replace(/[\uD800-\uDBFF]$/, '')}…`
}
