/**
 * The past, summed up in memory: the last backups of each guest, and the runs of each job. It is read from the database when somebody first asks,
 * and kept up to date as works end, so that a page over 20,000 guests reads no works. What it gives is never changed: something new takes its place.
 */

import type { EndedBackup, LookSide, RunSummary, WorkRow } from '../fleet.ts'
import type { Database } from '../store/database.ts'
import { type EndedRow, readLastBackups, readRuns } from '../store/history.ts'
import type { StoredWork } from '../store/works.ts'
import type { Ledger } from './ledger.ts'
import type { FleetState } from './state.ts'

/** Backups of a guest that are remembered. */
const OF_GUEST = 14
const DAY_MS = 24 * 3600_000
/** How far back they are looked for. */
const BACKUPS_MS = 30 * DAY_MS
/** Half a year is shown. */
const RUNS_MS = 190 * DAY_MS

/** More bytes or seconds than this are told by nobody who means it, and a sum of them must not overflow. */
const MOST = 1e18

const NONE: readonly EndedBackup[] = []

export class History implements Pick<LookSide, 'lastBackups' | 'runs'> {
  readonly #database: Database
  readonly #state: FleetState
  readonly #ledger: Ledger
  readonly #backups = new Map<string, readonly EndedBackup[]>()
  readonly #runs = new Map<string, RunSummary>()
  #sorted: RunSummary[] | null = null
  #loading: Promise<void> | null = null
  #isLoaded = false
  /** What has ended while it was read. */
  #meanwhile: StoredWork[] = []
  /** Counts up when what was read is no longer right. */
  #epoch = 0

  constructor(parts: { database: Database; state: FleetState; ledger: Ledger }) {
    this.#database = parts.database
    this.#state = parts.state
    this.#ledger = parts.ledger
  }

  async lastBackups(): Promise<(guest: string) => readonly EndedBackup[]> {
    await this.#load()
    return (guest) => this.#backups.get(guest) ?? NONE
  }

  async runs({ host, job, since }: { host?: string; job?: string; since: string }): Promise<RunSummary[]> {
    await this.#load()
    this.#sorted ??= [...this.#runs.values()].sort((a, b) =>
      a.started < b.started ? 1 : a.started > b.started ? -1 : a.host < b.host ? -1 : 1,
    )
    const from = new Date(since).toISOString()
    return this.#sorted.filter(
      (run) =>
        run.started >= from && (host === undefined || run.host === host) && (job === undefined || run.job === job),
    )
  }

  /** Another planner may have written what this one does not know. */
  clear(): void {
    this.#epoch += 1
    this.#isLoaded = false
    this.#loading = null
    this.#meanwhile = []
  }

  /** A work has ended. */
  ended(work: StoredWork): void {
    if (work.kind !== 'run' || work.guest === null || work.job === null || work.ended === null) return
    if (this.#isLoaded) this.#count(work)
    else if (this.#loading !== null) this.#meanwhile.push({ ...work })
  }

  /** The host did it by its own schedule, and it is written already: whether it is among what is being read nobody knows. */
  endedByItself(work: StoredWork): void {
    if (this.#loading !== null) this.clear()
    else this.ended(work)
  }

  async #load(): Promise<void> {
    while (!this.#isLoaded) {
      this.#loading ??= this.#read().finally(() => {
        this.#loading = null
      })
      await this.#loading
    }
  }

  async #read(): Promise<void> {
    const epoch = this.#epoch
    this.#meanwhile = []
    // What is open now is counted when it ends, and left out of what is read.
    const open = [...this.#state.works.keys()]
    await this.#ledger.flush()
    const now = Date.now()
    const runs = await readRuns(this.#database, new Date(now - RUNS_MS), open)
    const backups = await readLastBackups(this.#database, new Date(now - BACKUPS_MS), OF_GUEST, open)
    if (epoch !== this.#epoch) return
    this.#runs.clear()
    this.#backups.clear()
    this.#sorted = null
    for (const run of runs) this.#runs.set(keyOf(run.host, run.job, run.due), run)
    for (const { guest, ended } of backups) this.#backups.set(guest, ended.map(backupOf))
    for (const work of this.#meanwhile) this.#count(work)
    this.#meanwhile = []
    this.#isLoaded = true
  }

  #count({ host, job, guest, due: dueAt, began, ended, state, report }: StoredWork): void {
    const backup = backupOf([ended!.getTime(), state as WorkRow['state'], report?.stored, report?.seconds])
    this.#backups.set(guest!, [...(this.#backups.get(guest!) ?? NONE), backup].slice(-OF_GUEST))
    const due = dueAt.toISOString()
    const key = keyOf(host, job!, due)
    const before = this.#runs.get(key)
    const started = (began ?? dueAt).toISOString()
    const isDone = state === 'done'
    this.#runs.set(key, {
      ...{ host, job: job!, due },
      started: before === undefined || started < before.started ? started : before.started,
      ended: before === undefined || backup.at > before.ended ? backup.at : before.ended,
      done: (before?.done ?? 0) + (isDone ? 1 : 0),
      failed: (before?.failed ?? 0) + (isDone ? 0 : 1),
      stored: (before?.stored ?? 0) + backup.stored,
    })
    this.#sorted = null
  }
}

function keyOf(host: string, job: string, due: string): string {
  return `${host} ${job} ${due}`
}

function backupOf([at, outcome, stored, seconds]: EndedRow): EndedBackup {
  return { at: new Date(at).toISOString(), stored: numberOr0(stored), seconds: numberOr0(seconds), outcome }
}

/** A host may tell anything. */
function numberOr0(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? Math.min(Math.max(value, 0), MOST) : 0
}
