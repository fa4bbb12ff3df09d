/**
 * The page of a fleet. It shows what the planner knows and asks it for what it may ask of hosts. Data of guests does not go through the
 * planner: restores and downloads are for the page or the command line of the host itself.
 */

import { VmapipeError } from '../../core/errors.ts'
import type {
  EndedBackup,
  Fleet,
  FleetGuestRow,
  JobRow as FleetJobRow,
  FleetTopic,
  RunSummary,
} from '../../fleet/fleet.ts'
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
  TaskRow,
} from '../house.ts'
import { daysOf } from '../run-days.ts'
import { guestReport } from './guest-report.ts'
import { pruneView } from './prune-view.ts'
import { archiveRow, type FleetArchive, guestRow, jobRow, nowRow, runOf, runRow, runSummary, taskRow } from './rows.ts'

/** How long a task that has ended is shown, in milliseconds. */
const SHOWN_MS = 3_600_000
/** Works that are looked at for it. */
const RECENT = 1000
/** Works of one run. */
const OF_A_RUN = 50_000
/** Guests of which each is shown with all of its last backups. Of more only the last one goes with the list; the others are shown with the guest. */
const MANY = 2000
const TREND = 14
/** Works that wait and are shown; there may be as many as guests. */
const WAITING = 500

/** So often the rows of guests are made although nobody looks: only those that have changed, which takes some milliseconds. */
const AHEAD_MS = 60_000

/** Lists of a whole fleet are long: browsers are told to load them again at most so often, in milliseconds. */
const LISTS_MS = 5000

const OF_THE_HOST = 'data of guests does not go through the planner: use `vmapipe web` or the command line of'

const ABILITIES: Abilities = {
  actions: ['start', 'cancel', 'verify', 'boot', 'prune', 'drain', 'rescan'],
  hosts: true,
  download: false,
  why: {
    restore: `${OF_THE_HOST} a host that reaches the archive: vmapipe restore`,
    download: `${OF_THE_HOST} a host that reaches the archive: vmapipe cat, vmapipe files`,
    protect:
      'a planner can take no protection away, so it gives none: vmapipe protect, on a host that reaches the archive',
    note: 'notes are written where the archive is: vmapipe note, on a host that reaches it',
  },
}

export class FleetHouse implements House {
  readonly name: string
  readonly abilities = ABILITIES
  readonly #people: Fleet['people']
  /** Rows of guests, kept as long as what they are made of is the same: of 20,000 few change from one look to the next. */
  readonly #guests = new WeakMap<FleetGuestRow, { row: GuestRow; backups: readonly EndedBackup[]; most: number }>()
  #shown: GuestRow[] = []
  readonly #runs = new WeakMap<RunSummary, RunRow>()
  /** Who looks first does not wait until 20,000 rows are made. */
  readonly #ahead: NodeJS.Timeout

  constructor(people: Fleet['people'], { name }: { name: string }) {
    this.name = name
    this.#people = people
    // It may take a second in a large fleet, and is asked for as soon as somebody looks.
    people.lastBackups().catch(() => {})
    this.#ahead = setInterval(() => void this.guests().catch(() => {}), AHEAD_MS).unref()
  }

  async now(): Promise<NowView> {
    const since = new Date(Date.now() - SHOWN_MS).toISOString()
    const [open, recent] = await Promise.all([this.#people.open(WAITING), this.#people.tasks(since, RECENT)])
    const { running, waiting, allWaiting, problems } = open
    const unended = [...running, ...waiting]
    const known = new Set(unended.map(({ id }) => id))
    const tasks = [...unended, ...recent.filter(({ id }) => !known.has(id))].map(taskRow)
    const rows = unended.filter(({ kind }) => kind === 'run').map(nowRow)
    const left = allWaiting - waiting.length
    return {
      at: new Date().toISOString(),
      rows,
      tasks: tasks.filter((task): task is TaskRow => task !== null),
      problems: left > 0 ? [...problems, `${left} more works wait`] : problems,
    }
  }

  async guests(): Promise<GuestRow[]> {
    const [guests, backupsOf] = await Promise.all([this.#people.guests(), this.#people.lastBackups()])
    const most = guests.length > MANY ? 1 : TREND
    let isSame = this.#shown.length === guests.length
    const rows = guests.map((guest, index) => {
      const row = this.#guestRow(guest, backupsOf(guest.name), most)
      isSame &&= this.#shown[index] === row
      return row
    })
    if (!isSame) this.#shown = rows
    return this.#shown
  }

  async guest(host: string, name: string): Promise<GuestRow | null> {
    const [guests, backupsOf] = await Promise.all([this.#people.guests(), this.#people.lastBackups()])
    const found = guests.find((guest) => guest.host === host && guest.name === name)
    return found === undefined ? null : guestRow(found, [...backupsOf(name)])
  }

  #guestRow(guest: FleetGuestRow, backups: readonly EndedBackup[], most: number): GuestRow {
    const known = this.#guests.get(guest)
    if (known !== undefined && known.backups === backups && known.most === most) return known.row
    const row = guestRow(guest, backups.slice(-most))
    this.#guests.set(guest, { row, backups, most })
    return row
  }

  async archives(filter: { host?: string; guest?: string }): Promise<ArchiveRow[]> {
    const archives = await this.#people.archives(filter)
    return archives.toSorted((a, b) => b.ctime - a.ctime).map(archiveRow)
  }

  async content(host: string, archive: string): Promise<ArchiveContent> {
    const { guest } = await this.#archive(host, archive)
    return { drives: [], configs: [], guest, problem: 'what is in an archive is shown on a host that reaches it' }
  }

  async jobs(): Promise<JobRow[]> {
    const since = new Date(Date.now() - 8 * 86_400_000).toISOString()
    const [jobs, runs] = await Promise.all([this.#people.jobs(), this.runs({ since })])
    const last = new Map<string, RunRow>()
    for (const run of runs.toReversed()) last.set(`${run.host}/${run.job}`, run)
    return jobs.map((job) => jobRow(job, last.get(`${job.host}/${job.name}`) ?? null))
  }

  async runs({ until, most, ...filter }: Parameters<House['runs']>[0]): Promise<RunRow[]> {
    const runs = await this.#people.runs(filter)
    return runs
      .filter(({ started }) => until === undefined || started < until)
      .slice(0, most)
      .map((run) => {
        const known = this.#runs.get(run) ?? runRow(run)
        this.#runs.set(run, known)
        return known
      })
  }

  async runDays({ zone, ...filter }: Parameters<House['runDays']>[0]): Promise<RunDay[]> {
    return daysOf(await this.runs(filter), zone)
  }

  async report(host: string, job: string, run: string): Promise<RunReport | null> {
    const due = run.slice(run.lastIndexOf('@') + 1)
    if (Number.isNaN(Date.parse(due))) return null
    const works = await this.#people.works({ host, job, since: due, most: OF_A_RUN })
    const all = works.filter((work) => work.kind === 'run' && runOf(work) === run)
    const own = all.filter(({ ended }) => ended !== null)
    if (own.length === 0) return null
    const left = all.length - own.length
    const { started, ended, outcome } = runRow(runSummary(own))
    return {
      version: 1,
      job,
      run,
      host,
      started,
      ended,
      outcome,
      guests: own.map(guestReport),
      removed: [],
      next: null,
      ...(left > 0 && { warnings: [`the run goes on: of ${all.length} guests ${left} are not done yet`] }),
    }
  }

  async hosts(): Promise<HostRow[]> {
    const hosts = await this.#people.hosts()
    return hosts.map(({ parallel, warnings, ...row }) => row)
  }

  async prunePlan(host: string, job: string, guest?: string): Promise<PruneView> {
    const [archives, hosts] = await Promise.all([this.#people.archives({ host }), this.#people.hosts()])
    const zone = hosts.find((row) => row.host === host)?.zone ?? null
    return pruneView({ job: await this.#job(host, job), archives, guest, now: Date.now(), zone })
  }

  async restoreCommand({ archive, host }: RestoreForm): Promise<string> {
    const { name } = await this.#archive(host, archive)
    throw refused('restore', name)
  }

  async act(action: Action, _by: string): Promise<string | null> {
    const people = this.#people
    switch (action.do) {
      case 'start': {
        const { host, job, guests, full } = action
        const ids = await people.start({ host, job, ...(guests && { guests }), ...(full && { full }) })
        return ids[0] ?? null
      }
      case 'cancel':
        await people.cancel(action.id, 'canceled on the page')
        return null
      case 'verify':
      case 'boot': {
        const { host, job, place } = await this.#archive(action.host, action.archive)
        return people.verify({ host, job, archive: place, boot: action.do === 'boot' })
      }
      case 'prune': {
        const { host, job, guest, token } = action
        const plan = await this.prunePlan(host, job, guest)
        if (plan.token !== token)
          throw new VmapipeError('USAGE', 'the archives have changed since the plan was shown: nothing was removed', {
            hint: 'look at the new plan',
          })
        return people.prune({ host, job, ...(guest !== undefined && { guest }) })
      }
      case 'drain':
        await people.drain(action.host, action.on)
        return null
      case 'rescan':
        await people.rescan()
        return null
      default:
        throw refused(action.do)
    }
  }

  async picture(): Promise<Buffer | null> {
    return null
  }

  async files(): Promise<never> {
    throw refused('download')
  }

  async download(): Promise<Download> {
    throw refused('download')
  }

  watch(changed: (what: FleetTopic) => void): () => void {
    const lists = new Set<FleetTopic>()
    let timer: NodeJS.Timeout | null = null
    const tellLists = () => {
      timer = null
      for (const what of lists) changed(what)
      lists.clear()
    }
    const unwatch = this.#people.watch((topics) => {
      for (const topic of topics)
        if (topic === 'now') changed(topic)
        else lists.add(topic)
      if (lists.size > 0) timer ??= setTimeout(tellLists, LISTS_MS).unref()
    })
    return () => {
      unwatch()
      if (timer !== null) clearTimeout(timer)
    }
  }

  /** The planner is closed by who opened it. */
  async close(): Promise<void> {
    clearInterval(this.#ahead)
  }

  async #archive(host: string, id: string): Promise<FleetArchive> {
    const archives = await this.#people.archives({ host })
    const found = archives.find((archive) => archiveRow(archive).id === id)
    if (found === undefined) throw new VmapipeError('USAGE', 'this archive is not known any more')
    return found
  }

  async #job(host: string, name: string): Promise<FleetJobRow> {
    const found = (await this.#people.jobs()).find((job) => job.host === host && job.name === name)
    if (found === undefined) throw new VmapipeError('USAGE', `the host '${host}' has no job '${name}'`)
    return found
  }
}

function refused(what: 'restore' | 'download' | 'protect' | 'note', about?: string): VmapipeError {
  return new VmapipeError('USAGE', `${about === undefined ? '' : `${about}: `}${ABILITIES.why[what]}`)
}
