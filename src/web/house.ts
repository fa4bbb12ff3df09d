/**
 * What the page shows and does: one interface, for a single host (src/web/host) and for a fleet (src/web/fleet). All values are plain
 * JSON; times are ISO 8601, durations seconds, sizes bytes. Names of guests, notes and log lines are hostile: the page shows them as text.
 */

import type { Readable } from 'node:stream'
import type { HostRow as FleetHostRow } from '../fleet/fleet.ts'
import type { RunReport } from '../jobs/report.ts'
import type { GuestProgress } from '../jobs/run/events.ts'

export type { LatencyView } from '../jobs/run/latency.ts'

/** Who may what: `look`, also `operate` (start, cancel, verify, protect, note, prune, restore), also `administer` (people, tokens, hosts). */
export type Role = 'look' | 'operate' | 'administer'

/** A backup that runs, or a guest of a run that waits. */
export interface NowRow extends Omit<GuestProgress, 'again'> {
  /** Identifies it for `cancel`. */
  id: string
  host: string
  job: string
  run: string
}

/** A task that somebody began on the page, other than a run. */
export interface TaskRow {
  id: string
  host: string
  what: 'verify' | 'boot' | 'prune' | 'restore' | 'report'
  /** The archive, job or guest. */
  subject: string
  by: string
  state: 'waiting' | 'running' | 'done' | 'failed' | 'canceled'
  began: string
  ended: string | null
  /** 0 to 100; null if nobody knows. */
  percent: number | null
  /** The last lines that it said. */
  lines: string[]
}

export interface NowView {
  at: string
  rows: NowRow[]
  tasks: TaskRow[]
  /** What people should know first: a place that is away, a host that is gone, a run that failed. */
  problems: string[]
}

export interface GuestRow {
  host: string
  guest: string
  source: string
  running: boolean | null
  jobs: string[]
  /** When its last good backup was made; null if there is none. */
  lastGood: string | null
  /** How old that may be, by its jobs; null if they promise nothing. */
  promise: number | null
  /** `late`: older than its promise; `overdue`: older than twice that, or there is none; `unprotected`: in no job, or its host is gone. */
  state: 'good' | 'late' | 'overdue' | 'unprotected'
  problem: string | null
  size: number | null
  /** Its last backups, the oldest first. */
  trend: { at: string; stored: number; seconds: number; outcome: string }[]
}

export interface ArchiveRow {
  /** What the page calls it by; it names no path. */
  id: string
  host: string
  guest: string | null
  place: string
  name: string
  kind: 'full' | 'incremental'
  uuid: string
  parent: string | null
  at: string | null
  size: number
  encrypted: boolean
  /** No key of its host opens it. It has the guest of its folder, and the time at which it was written. */
  locked: boolean
  /** Why nothing is known of it, if not only for the lack of a key. */
  unreadable: string | null
  protected: boolean
  notes: string | null
  checks: { kind: 'verify' | 'sample' | 'boot'; at: string; passed: boolean; detail: string | null; picture: boolean }[]
}

/** What is in an archive, for the form of a restore and for downloads. */
export interface ArchiveContent {
  drives: { name: string; size: number }[]
  configs: string[]
  guest: string | null
  /** Why nothing more is known. */
  problem: string | null
}

export interface JobRow {
  host: string
  job: string
  description: string | null
  central: boolean
  schedule: string[]
  next: string[]
  window: string | null
  places: string[]
  guests: string[]
  promise: number | null
  problem: string | null
  last: Pick<RunReport, 'run' | 'started' | 'ended' | 'outcome'> | null
}

export interface RunRow {
  host: string
  job: string
  run: string
  started: string
  ended: string
  outcome: RunReport['outcome']
  done: number
  failed: number
  /** Bytes. */
  stored: number
}

/** The runs that began on one day, summed up. */
export interface RunDay {
  /** YYYY-MM-DD, in the zone that was asked for. */
  day: string
  runs: number
  /** Those with new archives of all guests. */
  whole: number
  worst: RunReport['outcome']
  /** Backups. */
  done: number
  failed: number
  /** Seconds that the longest run took. */
  longest: number
  stored: number
}

/** A host of a fleet. */
export type HostRow = Omit<FleetHostRow, 'parallel' | 'warnings'>

export interface PruneView {
  /** Of this very plan; what has changed meanwhile is not removed. */
  token: string
  rows: { archive: string; place: string; size: number; stays: boolean; reasons: string[] }[]
  bytes: number
}

/** A restore as the form says it. Paths are checked by the host. */
export interface RestoreForm {
  host: string
  archive: string
  /** Drive to new image, by the names of the archive's drives; those that are not named are left out. */
  drives: Record<string, string>
  /** Or a new guest of libvirt with this name, with images in `folder`. */
  domain?: { name: string; folder: string }
  /** Or run.sh, images and configuration in a new folder. */
  qemu?: { folder: string }
}

export type Action =
  | { do: 'start'; host: string; job: string; guests?: string[]; full?: boolean }
  | { do: 'cancel'; id: string }
  | { do: 'verify' | 'boot'; host: string; archive: string }
  | { do: 'protect'; host: string; archive: string; on: boolean }
  /** `was`: the note that was shown. If it is another one by now, it stays. */
  | { do: 'note'; host: string; archive: string; text: string; was?: string }
  | { do: 'prune'; host: string; job: string; guest?: string; token: string }
  | { do: 'restore'; form: RestoreForm }
  | { do: 'drain'; host: string; on: boolean }
  | { do: 'rescan' }

/** What this house can do: a fleet restores and downloads nothing, as data of guests does not go through the planner. */
export interface Abilities {
  /** The kinds of `Action` that it takes. */
  actions: Action['do'][]
  hosts: boolean
  download: boolean
  /** A folder that may be restored to: what the form begins with. */
  restoreTo?: string
  /** What is shown in the place of what it cannot do, with a host in it: the command to be run there. */
  why: Partial<Record<Action['do'] | 'download', string>>
}

/** Errors: USAGE for what is not there or is not allowed, with one line for people. */
export interface House {
  readonly name: string
  readonly abilities: Abilities
  now(): Promise<NowView>
  /** Of a large fleet each row has only the last backup in its trend. */
  guests(): Promise<GuestRow[]>
  /** With all of its trend; null if it is not there. */
  guest(host: string, guest: string): Promise<GuestRow | null>
  /** Those of one guest, or all; the newest first. */
  archives(filter: { host?: string; guest?: string }): Promise<ArchiveRow[]>
  content(host: string, archive: string): Promise<ArchiveContent>
  jobs(): Promise<JobRow[]>
  /** Those that began from `since` on, and before `until`: the newest first, and at most so many. */
  runs(filter: { host?: string; job?: string; since: string; until?: string; most?: number }): Promise<RunRow[]>
  /** The same, summed up by day: the oldest first, without days that had no run. */
  runDays(filter: { host?: string; job?: string; since: string; zone: string }): Promise<RunDay[]>
  report(host: string, job: string, run: string): Promise<RunReport | null>
  hosts(): Promise<HostRow[]>
  /** What would be removed. */
  prunePlan(host: string, job: string, guest?: string): Promise<PruneView>
  /** The command that does the same, for people to copy. */
  restoreCommand(form: RestoreForm): Promise<string>
  /** Returns the id of the task or the run; null if it is done already. `by`: who asked. */
  act(action: Action, by: string): Promise<string | null>
  /** The picture of a boot check, as PNG. */
  picture(host: string, archive: string): Promise<Buffer | null>
  /** Files and folders of a drive of the archive, below `path`. */
  files(host: string, archive: string, path: string): Promise<{ name: string; folder: boolean; size: number | null }[]>
  /** A drive as a raw image, or one file of the guest's filesystems: made as it is read, and ended if the signal is. */
  download(
    asked: { host: string; archive: string; drive?: string; file?: string },
    signal: AbortSignal,
  ): Promise<Download>
  /** Called when something has changed, at most four times a second. Returns what ends it. */
  watch(changed: (what: 'now' | 'guests' | 'archives' | 'jobs' | 'hosts') => void): () => void
  close(): Promise<void>
}

export interface Download {
  /** For the browser; never a path. */
  name: string
  /** Bytes, if they are known. */
  size: number | null
  content: Readable
}
