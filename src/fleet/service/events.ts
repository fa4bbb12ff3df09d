/** What agents say has happened. An event that comes twice counts once. What a host says of another's works and guests is not taken. */

import { createHash } from 'node:crypto'
import { type ErrorCode, EXIT_CODES, printable } from '../../core/errors.ts'
import type { AgentEvent, ArchivesEvent, EndedEvent } from '../messages/events.ts'
import { writeArchives } from '../store/archives.ts'
import { hasWork, type StoredWork, writeWorks } from '../store/works.ts'
import type { GuestOwners } from './owners.ts'
import type { Parts } from './parts.ts'
import { readEvents } from './reading.ts'
import type { GuestState, HostState, OpenWork } from './state.ts'
import type { Ending, WorkDesk } from './work-desk.ts'

/** Runs by a host's own schedule whose due times are remembered, for each host. */
const OWN_RUNS = 100

export class Events {
  readonly #parts: Parts
  readonly #desk: WorkDesk
  readonly #owners: GuestOwners

  constructor(parts: Parts, desk: WorkDesk, owners: GuestOwners) {
    this.#parts = parts
    this.#desk = desk
    this.#owners = owners
  }

  async take(host: HostState, said: readonly unknown[]): Promise<string[]> {
    const { events, unread } = readEvents(said)
    const taken: string[] = []
    for (const event of events) {
      if (this.#isTooEarly(host, event)) continue
      await this.#one(host, event)
      taken.push(event.id)
    }
    // What begins in the place of what has ended is written in the same transaction.
    void this.#desk.admit()
    await this.#parts.ledger.flush()
    // What has ended is told as a run of its job, and in the trend of its guest; archives say when a guest was backed up, too.
    const areArchives = events.some(({ event }) => event === 'archives')
    const hasEnded = events.some(({ event }) => event === 'ended')
    if (areArchives) this.#parts.changes.tell('archives', 'guests')
    if (hasEnded) this.#parts.changes.tell('guests', 'jobs')
    this.#parts.changes.tell('now')
    return [...taken, ...unread]
  }

  /**
   * Whether it is of a guest that appeared on the host, or came to it, while the planner was away: the host's inventory is under way. The host
   * keeps the event, and tells it again.
   */
  #isTooEarly(host: HostState, event: AgentEvent): boolean {
    if (host.hasReported || event.event !== 'ended') return false
    const { works, guests } = this.#parts.state
    return !works.has(event.work ?? '') && guests.get(event.guest)?.host !== host.name
  }

  async #one(host: HostState, event: AgentEvent): Promise<void> {
    if (event.event === 'archives') return this.#archives(host, event)
    if (event.work === null) return this.#ownRun(host, event as EndedEvent)
    const work = this.#parts.state.works.get(event.work)
    if (work === undefined) {
      // It came before, or the work was given up, or it is of a database that was restored. A backup that was made counts all the same.
      const owner = this.#parts.state.ended.get(event.work)
      if (owner !== undefined && owner !== host.name) return this.#refuse(host, `a work of ${owner}`)
      if (event.event === 'ended' && owner === undefined) return this.#ownRun(host, event)
      return
    }
    if (work.host !== host.name && !work.past.has(host.name)) return this.#refuse(host, `a work of ${work.host}`)
    if (event.event === 'ended') {
      if (event.guest !== work.guest || event.job !== work.job)
        return this.#refuse(host, `another guest or job than that of its work`)
      this.#ended_(host, work, event)
    } else {
      // A host that had it before does not end it for the one that has it now.
      if (work.host !== host.name) return
      if (event.outcome === 'done') this.#end(work, 'done', event.text || null)
      else this.#fail(work, { outcome: event.outcome, code: null, reason: event.text || event.outcome })
    }
  }

  #ended_(host: HostState, work: OpenWork, event: EndedEvent): void {
    const { state } = this.#parts
    const ending = endingOf(event)
    const report = this.#parts.caps.reportOf(host, event)
    // A host that had it before has failed; the one that has it now goes on.
    if (work.host !== host.name && ending !== 'done') return
    const guest = state.guests.get(event.guest)
    if (guest !== undefined) {
      if (ending === 'done')
        this.#owners.good(guest, event.already === true ? work.due : this.#byOurClock(host, event.started))
      else if (ending === 'failed') guest.failure = reasonOf(event)
    }
    // Until the one that has it now tells its end, the guest and the places are in use.
    if (work.host !== host.name && work.state === 'running') return
    if (event.outcome === 'done') this.#end(work, 'done', null, report)
    // That attempt was counted as lost, and it is tried again already.
    else if (work.state !== 'running' && event.outcome !== 'canceled') return
    else this.#fail(work, { outcome: event.outcome, code: codeOf(event), reason: reasonOf(event) }, report)
  }

  #end(work: OpenWork, ending: Ending, reason: string | null, report: OpenWork['report'] = null): void {
    this.#remember(work)
    this.#desk.end(work, ending, reason, report)
  }

  #fail(work: OpenWork, what: Parameters<WorkDesk['fail']>[1], report: OpenWork['report'] = null): void {
    this.#desk.fail(work, what, report)
    if (!this.#parts.state.works.has(work.id)) this.#remember(work)
  }

  #remember(work: OpenWork): void {
    this.#parts.state.rememberEnd(work)
  }

  /** A backup by the host's own schedule, while the planner was away. */
  #ownRun(host: HostState, event: EndedEvent): void {
    const { state, ledger, history, caps } = this.#parts
    const guest = state.guests.get(event.guest)
    if (guest !== undefined && guest.host !== host.name) {
      this.#refuse(host, `a guest of ${guest.host}`)
      return
    }
    // Also one that it reports and may not claim: what it says of that one's times must not keep another from backing it up.
    if (guest === undefined) {
      this.#refuse(host, 'a guest that it does not have')
      return
    }
    const ending = endingOf(event)
    const started = this.#byOurClock(host, event.started)
    const due = this.#dueOf(host, event, started)
    if (ending === 'done') this.#good(guest, event.already === true ? due : started)
    else if (ending === 'failed') guest.failure = reasonOf(event)
    // Of a work that is not known the id may be that of another host's work to come.
    const hash = createHash('sha256').update(JSON.stringify([host.name, event.id]))
    const id = `own-${hash.digest('hex').slice(0, 32)}`
    const work: StoredWork = {
      ...{ id, kind: 'run', host: host.name, job: event.job, guest: event.guest, due, state: ending, attempt: 1 },
      ...{ notBefore: null, began: started, ended: this.#byOurClock(host, event.at), incarnation: null },
      ...{ reason: ending === 'done' ? null : reasonOf(event), asked: { own: true } },
      report: caps.reportOf(host, event),
    }
    let isNew = false
    const ids = event.work === null ? [id] : [id, event.work]
    ledger.write(
      async (session) => {
        isNew = caps.mayRun(host)
        for (const one of ids) isNew &&= !(await hasWork(session, one))
        if (isNew) await writeWorks(session, [work])
      },
      () => {
        if (isNew) history.endedByItself(work)
      },
    )
    // What it has done, or tried, is not begun for the same time again.
    state.dues.done(event.job, event.guest, due.getTime())
    if (ending !== 'done') return
    for (const open of state.worksOfGuest(event.guest))
      if (
        open.kind === 'run' &&
        open.job === event.job &&
        open.host === host.name &&
        open.state !== 'running' &&
        open.due <= started &&
        open.asked.now !== true
      )
        this.#desk.end(open, 'done', 'the host did it by its own schedule')
  }

  /** When a run by the host's own schedule was due. All guests of a run have one time. */
  #dueOf(host: HostState, { job, run }: EndedEvent, started: Date): Date {
    const known = host.ownRuns.get(`${job} ${run}`)
    if (known !== undefined) return known
    const times = (host.jobs.get(job)?.next ?? []).map((time) => Date.parse(time))
    const waits = this.#parts.state
      .worksOfHost(host.name)
      .flatMap((work) => (work.job === job && work.kind === 'run' ? work.due.getTime() : []))
    const past = [...times, ...waits].filter((time) => time <= started.getTime())
    const due = past.length > 0 ? new Date(Math.max(...past)) : started
    host.ownRuns.set(`${job} ${run}`, due)
    if (host.ownRuns.size > OWN_RUNS) host.ownRuns.delete(host.ownRuns.keys().next().value!)
    return due
  }

  #archives(host: HostState, event: ArchivesEvent): void {
    const { state, ledger, caps } = this.#parts
    const guest = event.guest === null ? undefined : state.guests.get(event.guest)
    // On a storage that several hosts write to each sees the guests of all. Their own hosts tell of them.
    if (guest !== undefined && guest.host !== host.name && (state.hosts.get(guest.host)?.isThere ?? false)) return
    const bytes = event.archives.length === 0 ? 0 : Buffer.byteLength(JSON.stringify(event.archives))
    if (caps.mayList(host, event.place, event.guest, bytes))
      ledger.write((session) => writeArchives(session, host.name, event))
    if (guest?.host !== host.name || guest.lastGood !== null) return
    // A planner that has lost its database learns from the places when guests were backed up.
    const times = event.archives
      .filter((archive) => archive.unreadable === undefined && archive.guest === event.guest && archive.ctime > 0)
      .map(({ ctime }) => ctime * 1000)
    times.sort((a, b) => b - a).some((time) => this.#owners.remembered(host, guest, time))
  }

  #good(guest: GuestState, at: Date): void {
    guest.failure = null
    this.#owners.good(guest, at)
  }

  #byOurClock(host: HostState, time: string): Date {
    // Nothing has happened later than now.
    const now = this.#parts.clock.now()
    return new Date(Math.max(0, Math.min(Date.parse(time) - (host.skew ?? 0), now)))
  }

  #refuse(host: HostState, what: string): void {
    const { problems, clock } = this.#parts
    problems.add(`${host.name} told of ${printable(what)}, which was not taken`, clock.now())
  }
}

function endingOf({ outcome }: EndedEvent): Exclude<Ending, 'lost'> {
  return outcome === 'skipped' ? 'failed' : outcome
}

/** The kind of its error, if this program knows it. */
function codeOf({ report }: EndedEvent): ErrorCode | null {
  return typeof report.code === 'string' && report.code in EXIT_CODES ? (report.code as ErrorCode) : null
}

function reasonOf({ outcome, report }: EndedEvent): string {
  return typeof report.reason === 'string' ? report.reason.slice(0, 4000) : outcome
}
