/** What a run says at its end. */

import { formatBytes, formatRate } from '../core/size.ts'
import type { JobResult } from '../jobs/job.ts'
import type { LiveBackupStatus } from '../live/live-backup.ts'
import type { PushBackupStatus } from '../live/qemu/push-backup.ts'
import { formatDuration } from './progress/duration.ts'
import type { Snapshot } from './progress/meter.ts'
import { count } from './text.ts'

export function backupSummary({ drives }: JobResult, whole: Snapshot): string[] {
  const size = drives.reduce((sum, drive) => sum + drive.size, 0)
  return [
    `backed up ${formatBytes(size)} of ${count(drives.length, 'drive')} in ${formatDuration(whole.elapsed)}, ${rates(whole)}`,
    `${zeros(drives, size)}archive of ${formatBytes(whole.written)}${ratio(size, whole.written)}`,
  ]
}

export function restoreSummary({ drives }: JobResult, whole: Snapshot): string[] {
  const size = drives.reduce((sum, drive) => sum + drive.size, 0)
  return [
    `restored an archive of ${formatBytes(size)} in ${formatDuration(whole.elapsed)}, ${rates(whole)}`,
    `${zeros(drives, size)}${formatBytes(whole.written)} of data written`,
  ]
}

export function repackSummary({ drives }: JobResult, whole: Snapshot): string[] {
  const size = drives.reduce((sum, drive) => sum + drive.size, 0)
  return [
    `repacked ${count(drives.length, 'drive')} of ${formatBytes(size)} in ${formatDuration(whole.elapsed)}, ${rates(whole)}`,
    `archive of ${formatBytes(whole.written)}${ratio(size, whole.written)}`,
  ]
}

/** For pipelines of which nothing more is known. */
export function runSummary(whole: Snapshot): string[] {
  const { read, written, elapsed } = whole
  return [`read ${formatBytes(read)}, wrote ${formatBytes(written)} in ${formatDuration(elapsed)}, ${rates(whole)}`]
}

function rates({ readRate, writeRate }: Snapshot): string {
  return `read: ${formatRate(readRate)}, write: ${formatRate(writeRate)}`
}

function zeros(drives: JobResult['drives'], size: number): string {
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

/** How the guest of a QEMU that pushes to us is doing. */
export function pushLine({ clusters, waiting, buffer }: PushBackupStatus): string {
  const ms = (value: number) => `${value.toFixed(1)} ms`
  const ways = `${clusters.scanned} clusters pulled, ${clusters.copied} pushed, of ${clusters.total}`
  const waits = `pushes waited for us p50 ${ms(waiting.p50)}, p99 ${ms(waiting.p99)}, longest ${ms(waiting.max)}`
  return `guest: ${ways}; ${waits}; buffer ${formatBytes(buffer.used)} of ${formatBytes(buffer.size)}`
}

/** How a running guest is doing under its backup. */
export function guestLine({ clusters, waiting, buffer }: LiveBackupStatus): string {
  const ms = (value: number) => `${value.toFixed(1)} ms`
  const waits = `${waiting.count} writes waited for a copy (p50 ${ms(waiting.p50)}, p99 ${ms(waiting.p99)}, longest ${ms(waiting.max)})`
  return `guest: ${waits}; ${clusters.copied} of ${clusters.total} clusters were copied for it, buffer ${formatBytes(buffer.used)} of ${formatBytes(buffer.size)}`
}
