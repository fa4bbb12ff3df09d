/** What is known of a host: it is looked at in the background, and answers take what was seen last. */

import { watch as watchFiles } from 'node:fs'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../core/errors.ts'
import { type RunNow, runsNow } from '../../jobs/run/control.ts'
import { jobFolders, runtimeFolder, stateFolder } from '../../jobs/state/folders.ts'
import type { Unprotected } from '../../jobs/unprotected.ts'
import type { TaskRow } from '../house.ts'
import { ArchiveStore, type KnownArchive } from './archive-store.ts'
import { type CommandLine, ownStart } from './command.ts'
import { type FoundGuests, lookForGuests, lookForUnprotected } from './guests.ts'
import { Histories } from './histories.ts'
import { Jobs } from './jobs.ts'
import { Kept } from './kept.ts'
import { Tasks } from './tasks.ts'
import { timeText } from './texts.ts'
import { Watchers } from './watchers.ts'

export interface HostHouseOptions {
  /** The folders of the state and of the sockets; those of this host by default. */
  state?: string | undefined
  runtime?: string | undefined
  /** Where job files are looked for. */
  jobsFolders?: readonly string[] | undefined
  /** Places of archives beside those that jobs name. */
  extraPlaces?: readonly string[] | undefined
  /** Folders that may be restored to; none by default. */
  restoreTo?: readonly string[] | undefined
  /** What the host is called; its host name by default. */
  name?: string | undefined
  version?: string | undefined
  /** The program of our command line and its first words; how this process was started by default. */
  start?: readonly string[] | undefined
  /** Variables that its children get. */
  env?: Readonly<Record<string, string>> | undefined
}

/** Milliseconds after which an answer looks again. */
const AGE = { runs: 400, jobs: 2000, archives: 3000, guests: 20_000, open: 600_000 }
/** Milliseconds between two looks while somebody watches. */
const LOOK_MS = { runs: 1000, files: 4000, guests: 30_000 }
/** How recent a failed run is that people should know of first, in milliseconds. */
const RECENT_MS = 3 * 86_400_000

export class HostState {
  readonly host: string
  readonly command: CommandLine
  readonly jobs: Jobs
  readonly histories: Histories
  readonly archives: ArchiveStore
  readonly tasks: Tasks
  readonly watchers: Watchers
  /** The runs that go on. */
  readonly runs: Kept<RunNow[]>
  /** Job files and reports. */
  readonly files: Kept<true>
  /** The archives of all places. */
  readonly listed: Kept<true>
  readonly found: Kept<FoundGuests>
  /** What is in no job; it takes the longest. */
  readonly open: Kept<Unprotected>
  readonly #runtime: string
  readonly #jobsFolders: readonly string[]
  /** What the runs told last. */
  #shown = '[]'
  readonly #end = new AbortController()

  constructor(options: HostHouseOptions) {
    const { state = stateFolder(), runtime = runtimeFolder(), jobsFolders = jobFolders() } = options
    const { extraPlaces = [], name = hostname(), start = ownStart(), env = {} } = options
    this.host = name
    this.#runtime = runtime
    this.#jobsFolders = jobsFolders
    this.command = { start, env: { ...env, VMAPIPE_STATE: state, VMAPIPE_RUNTIME: runtime } }
    this.jobs = new Jobs(jobsFolders)
    this.histories = new Histories(state, name)
    this.archives = new ArchiveStore(name, extraPlaces)
    this.watchers = new Watchers(() => this.#watched())
    this.tasks = new Tasks(this.command, name, (ended) => this.#taskChanged(ended))
    this.runs = new Kept({
      make: () => runsNow(runtime),
      age: AGE.runs,
      made: (now, before) => this.#runsSeen(now, before),
    })
    this.files = new Kept({ make: () => this.#lookAtFiles(), age: AGE.jobs })
    this.listed = new Kept({ make: () => this.lookAtArchives(false), age: AGE.archives })
    this.found = new Kept({
      make: () => lookForGuests(this.jobs.good, state, this.#end.signal),
      age: AGE.guests,
      made: () => this.watchers.tell('guests', 'jobs'),
    })
    this.open = new Kept({
      make: () => lookForUnprotected(this.jobs.good, this.#end.signal),
      age: AGE.open,
      made: () => this.watchers.tell('guests'),
    })
  }

  /** Looks at what is quickly looked at; the rest comes in the background. */
  async begin(): Promise<void> {
    await this.files.get()
    for (const slow of [this.listed, this.found, this.open, this.runs] as Kept<unknown>[])
      void slow.get().catch(() => {})
  }

  async close(): Promise<void> {
    this.#end.abort(new VmapipeError('ABORTED', 'the page is closed'))
    this.watchers.close()
    await this.tasks.close()
  }

  /** Errors: USAGE. */
  check(host: string): void {
    if (host !== this.host) throw new VmapipeError('USAGE', `this is the page of ${this.host} alone`)
  }

  /** Errors: USAGE if there is no archive of this id. */
  async archive(id: string): Promise<KnownArchive> {
    // An archive that was just made may not be listed yet.
    await this.listed.get()
    try {
      return this.archives.known(id)
    } catch {
      await this.listed.fresh()
      return this.archives.known(id)
    }
  }

  /** What people should know first. */
  problems(): string[] {
    const problems = this.jobs.all.flatMap(({ name, problem }) => (problem === null ? [] : [`${name}: ${problem}`]))
    for (const [name, { problems: own }] of this.found.last?.byJob ?? [])
      problems.push(...own.map((text) => `${name}: ${text}`))
    problems.push(...this.archives.problems)
    for (const { name, to } of this.jobs.good) {
      const states = [...(this.found.last?.byJob.get(name)?.states.values() ?? [])]
      if (!states.some(({ success }) => success !== null)) continue
      for (const { place } of to)
        if (this.archives.isMissing(place))
          problems.push(`${name}: the folder '${place}' is not there any more: is its disk mounted?`)
    }
    for (const { name } of this.jobs.all) {
      const [last] = this.histories.runs(name)
      if (last === undefined || last.row.outcome === 'all' || Date.parse(last.row.ended) < Date.now() - RECENT_MS)
        continue
      const { row, problem } = last
      const how = `${row.done} of ${row.done + row.failed} guests backed up`
      problems.push(
        `${name}: the last run ended at ${timeText(row.ended)}: ${how}${problem === null ? '' : `: ${problem}`}`,
      )
    }
    return problems
  }

  async #lookAtFiles(): Promise<true> {
    const [jobs, reports] = await Promise.all([this.jobs.look(), this.histories.look()])
    if (jobs) {
      this.listed.spoil()
      this.found.spoil()
    }
    if (jobs || reports) this.watchers.tell('jobs', 'guests', 'now')
    return true
  }

  /** `all`: whatever the folders say. */
  async lookAtArchives(all: boolean): Promise<true> {
    if (await this.archives.look(this.jobs.good, { all })) this.watchers.tell('archives', 'guests')
    return true
  }

  #runsSeen(now: RunNow[], before: RunNow[] | undefined): void {
    const text = JSON.stringify(now)
    if (text !== this.#shown) this.watchers.tell('now')
    this.#shown = text
    const left = new Set(now.map(({ status }) => status.run))
    // A run that has ended has made archives and a report.
    if (before?.some(({ status }) => !left.has(status.run))) this.#lookSoon()
  }

  #taskChanged(ended: TaskRow | null): void {
    this.watchers.tell('now')
    if (ended !== null) this.#lookSoon()
  }

  #lookSoon(): void {
    this.files.spoil()
    this.listed.spoil()
    this.found.spoil()
    if (this.#end.signal.aborted) return
    void this.files
      .fresh()
      .then(() => this.listed.fresh())
      .catch(() => {})
  }

  /** Somebody looks: returns what ends the looking. */
  #watched(): () => void {
    const end = new AbortController()
    const again = async (every: number, look: () => Promise<unknown>) => {
      while (!end.signal.aborted) {
        await look().catch(() => {})
        await sleep(every, undefined, { signal: end.signal, ref: false }).catch(() => {})
      }
    }
    void again(LOOK_MS.runs, () => this.runs.fresh())
    void again(LOOK_MS.files, () => this.files.fresh().then(() => this.listed.fresh()))
    void again(LOOK_MS.guests, () => this.found.fresh())
    // A run that begins makes a socket; a job file that is saved changes its folder.
    const watches = [this.#runtime, ...this.#jobsFolders].flatMap((folder) => {
      try {
        const looked = folder === this.#runtime ? this.runs : this.files
        const watch = watchFiles(folder, { persistent: false }, () => void looked.fresh().catch(() => {}))
        return [watch.on('error', () => watch.close())]
      } catch {
        return [] // It is not there yet; the looks above find what comes.
      }
    })
    return () => {
      end.abort()
      for (const watch of watches) watch.close()
    }
  }
}
