/**
 * The page of a single host, without any database: job files, the control sockets of runs, reports, and the archives at the places say all
 * there is. What is done is done by our own command line, as a person would do it.
 */

import { VmapipeError } from '../../core/errors.ts'
import type { RunReport } from '../../jobs/report.ts'
import type {
  Abilities,
  Action,
  ArchiveContent,
  ArchiveRow,
  Download,
  GuestRow,
  HostRow,
  House,
  JobRow,
  NowView,
  PruneView,
  RestoreForm,
  RunDay,
  RunRow,
} from '../house.ts'
import { daysOf } from '../run-days.ts'
import { Actions } from './actions.ts'
import { contentOf } from './content.ts'
import { Downloads } from './downloads.ts'
import { guestRows } from './guests.ts'
import { type HostHouseOptions, HostState } from './host-state.ts'
import { jobRow } from './jobs.ts'
import { picturePlace, readPicture } from './pictures.ts'
import { nowRows } from './runs.ts'
import type { Changed } from './watchers.ts'

export type { HostHouseOptions } from './host-state.ts'

/** Milliseconds that an answer waits until guests were looked for the first time. */
const FIRST_LOOK_MS = 1500

/** Errors: FAILED if a folder cannot be read at all. */
export async function openHostHouse(options: HostHouseOptions = {}): Promise<House> {
  const state = new HostState(options)
  await state.begin()
  return new HostHouse(state, options)
}

class HostHouse implements House {
  readonly name: string
  readonly abilities: Abilities
  readonly #version: string | null
  readonly #state: HostState
  readonly #actions: Actions
  readonly #downloads: Downloads
  readonly #contents = new Map<string, Promise<ArchiveContent>>()

  constructor(state: HostState, { restoreTo = [], version }: HostHouseOptions) {
    this.name = state.host
    this.#version = version ?? null
    this.#state = state
    this.#actions = new Actions(state, restoreTo, (host, archive) => this.content(host, archive))
    this.abilities = this.#actions.abilities
    this.#downloads = new Downloads(state.command)
  }

  async now(): Promise<NowView> {
    const [runs] = await Promise.all([this.#state.runs.get(), this.#state.files.get()])
    const { rows, left } = nowRows(runs, this.name)
    return {
      at: new Date().toISOString(),
      rows,
      tasks: this.#state.tasks.rows,
      problems: [...this.#state.problems(), ...left],
    }
  }

  async guest(host: string, name: string): Promise<GuestRow | null> {
    return (await this.guests()).find((row) => row.host === host && row.guest === name) ?? null
  }

  async guests(): Promise<GuestRow[]> {
    await this.#state.files.get()
    const [found] = await Promise.all([this.#state.found.get(), this.#state.listed.get()])
    // What is in no job takes the longest to find; until then there is nothing of it.
    void this.#state.open.get().catch(() => {})
    return guestRows({
      ...{ host: this.name, jobs: this.#state.jobs.all, found, open: this.#state.open.last },
      ...{ archives: this.#state.archives, histories: this.#state.histories, now: Date.now() },
    })
  }

  async archives({ host, guest }: { host?: string; guest?: string }): Promise<ArchiveRow[]> {
    if (host !== undefined && host !== this.name) return []
    await this.#state.files.get()
    await this.#state.listed.get()
    return this.#state.archives.rows(guest)
  }

  async content(host: string, archive: string): Promise<ArchiveContent> {
    this.#state.check(host)
    const { id, entry, identity } = await this.#state.archive(archive)
    const key = `${id} ${entry.size} ${entry.written}`
    const known = this.#contents.get(key)
    if (known !== undefined) return known
    const made = contentOf(entry, identity)
    this.#contents.set(key, made)
    // What could not be read is read again the next time.
    void made.then(({ problem }) => problem !== null && this.#contents.delete(key))
    if (this.#contents.size > 500) this.#contents.delete(this.#contents.keys().next().value!)
    return made
  }

  async jobs(): Promise<JobRow[]> {
    await this.#state.files.get()
    // A hypervisor may answer late or never: jobs are shown without their guests then, and watchers are told once these are found.
    const found = await this.#state.found.within(FIRST_LOOK_MS)
    return this.#state.jobs.all.map((job) => {
      const guests = found?.byJob.get(job.name)?.guests.map(({ name }) => name) ?? []
      const [last = null] = this.#state.histories.runs(job.name)
      return jobRow(job, { host: this.name, guests, last })
    })
  }

  async runs({ host, job, since, until, most }: Parameters<House['runs']>[0]): Promise<RunRow[]> {
    if (host !== undefined && host !== this.name) return []
    await this.#state.files.get()
    return this.#state.histories
      .runs(job)
      .flatMap(({ row }) => (row.started >= since && (until === undefined || row.started < until) ? [row] : []))
      .slice(0, most)
  }

  async runDays({ zone, ...filter }: Parameters<House['runDays']>[0]): Promise<RunDay[]> {
    return daysOf(await this.runs(filter), zone)
  }

  async report(host: string, job: string, run: string): Promise<RunReport | null> {
    this.#state.check(host)
    await this.#state.files.get()
    return this.#state.histories.report(job, run)
  }

  async hosts(): Promise<HostRow[]> {
    const [runs, guests] = await Promise.all([this.#state.runs.get(), this.guests()])
    return [
      {
        ...{ host: this.name, state: 'up', version: this.#version, labels: [], skew: 0 },
        zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
        seen: new Date().toISOString(),
        guests: guests.length,
        running: runs.flatMap(({ status }) => status.guests.filter(({ snapshot }) => snapshot !== null)).length,
      },
    ]
  }

  prunePlan(host: string, job: string, guest?: string): Promise<PruneView> {
    return this.#actions.prunePlan(host, job, guest)
  }

  restoreCommand(form: RestoreForm): Promise<string> {
    return this.#actions.restoreCommand(form)
  }

  act(action: Action, by: string): Promise<string | null> {
    return this.#actions.act(action, by)
  }

  async picture(host: string, archive: string): Promise<Buffer | null> {
    this.#state.check(host)
    const { entry } = await this.#state.archive(archive)
    for (const check of entry.checks) {
      const place = picturePlace(entry, check)
      if (place !== null) return readPicture(place)
    }
    return null
  }

  async files(host: string, archive: string, path: string): ReturnType<House['files']> {
    this.#state.check(host)
    return this.#downloads.list(await this.#state.archive(archive), path)
  }

  async download(
    { host, archive, drive, file }: { host: string; archive: string; drive?: string; file?: string },
    signal: AbortSignal,
  ): Promise<Download> {
    this.#state.check(host)
    const known = await this.#state.archive(archive)
    if (file !== undefined) return this.#downloads.file(known, drive === undefined ? file : `${drive}/${file}`, signal)
    if (drive === undefined) throw new VmapipeError('USAGE', 'nothing says what is to be downloaded')
    return this.#downloads.drive(known, drive, await this.content(host, archive), signal)
  }

  watch(changed: (what: Changed) => void): () => void {
    return this.#state.watchers.add(changed)
  }

  async close(): Promise<void> {
    this.#downloads.close()
    await this.#state.close()
  }
}
