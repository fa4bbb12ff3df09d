/** Makes the lines that a run shows at its end. */

import type { Snapshot } from '../core/meter.ts'
import { formatBytes, formatRate } from '../core/size.ts'
import type { GuestStatus } from '../live/guest-figures.ts'
import type { OperationResult } from '../operations/operation.ts'
import { count, formatDuration } from './text.ts'

/** `guest` is the state of the guest of a live backup, if the disk server is still there. */
export function backupSummary(
  { drives, guest, conclusions, manifest }: OperationResult & { guest?: GuestStatus | null },
  whole: Snapshot,
): string[] {
  const size = drives.reduce((sum, drive) => sum + drive.size, 0)
  const what = manifest.isIncremental ? changes(drives) : zeros(drives, size)
  return [
    `backed up ${formatBytes(size)} of ${count(drives.length, 'drive')} in ${formatDuration(whole.elapsed)}, ${rates(whole)}`,
    `${what}archive of ${formatBytes(whole.written)}${ratio(size, whole.written)}`,
    ...(guest ? [guestLine(guest)] : []),
    ...conclusions,
  ]
}

export function restoreSummary({ drives }: OperationResult, whole: Snapshot): string[] {
  const size = drives.reduce((sum, drive) => sum + drive.size, 0)
  return [
    `restored an archive of ${formatBytes(size)} in ${formatDuration(whole.elapsed)}, ${rates(whole)}`,
    `${zeros(drives, size)}${formatBytes(whole.written)} of data written`,
  ]
}

export function repackSummary({ drives }: OperationResult, whole: Snapshot): string[] {
  const size = drives.reduce((sum, drive) => sum + drive.size, 0)
  return [
    `repacked ${count(drives.length, 'drive')} of ${formatBytes(size)} in ${formatDuration(whole.elapsed)}, ${rates(whole)}`,
    `archive of ${formatBytes(whole.written)}${ratio(size, whole.written)}`,
  ]
}

/** The summary of a pipeline that is not one of the operations. */
export function runSummary(whole: Snapshot): string[] {
  const { read, written, elapsed } = whole
  return [`read ${formatBytes(read)}, wrote ${formatBytes(written)} in ${formatDuration(elapsed)}, ${rates(whole)}`]
}

function rates({ readRate, writeRate }: Snapshot): string {
  return `read: ${formatRate(readRate)}, write: ${formatRate(writeRate)}`
}

/** What an incremental archive stores. */
function changes(drives: OperationResult['drives']): string {
  const stored = drives.reduce((sum, drive) => sum + drive.stored, 0)
  return `${formatBytes(stored)} of data changed since the parent, `
}

function zeros(drives: OperationResult['drives'], size: number): string {
  if (size === 0) return ''
  const stored = drives.reduce((sum, drive) => sum + drive.stored, 0)
  return `${percent(Math.max(0, size - stored), size)} zeros, `
}

export function percent(part: number, whole: number): string {
  return whole === 0 ? '0%' : `${((part / whole) * 100).toFixed(1)}%`
}

function ratio(size: number, written: number): string {
  return written === 0 || size === 0 ? '' : ` (${percent(written, size)} of the drives)`
}

/** The effect of the backup on the guest. */
function guestLine({ clusters, waiting }: GuestStatus): string {
  const ms = (value: number) => `${value.toFixed(1)} ms`
  const waits =
    waiting.count === 0
      ? 'no write waited for the backup'
      : `${count(waiting.count, 'write')} waited for the backup, p50 ${ms(waiting.p50)}, p99 ${ms(waiting.p99)}, longest ${ms(waiting.max)}`
  return `guest: ${percent(clusters.copied, clusters.total)} of its clusters were copied before it overwrote them, ${waits}`
}
