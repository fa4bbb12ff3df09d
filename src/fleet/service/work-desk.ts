/**
 * The life of a work: it is made, waits for its slots, goes into its host's queue, is given to the host, and ends; or its host dies, and it
 * waits again. Every step is made in memory and told to the ledger, which makes it durable before anybody outside learns of it.
 */

import { randomUUID } from 'node:crypto'
import type { Work } from '../messages/work.ts'
import type { DueWork } from '../planner/due.ts'
import { MOST_ATTEMPTS, retryOf, type Unsuccessful } from '../planner/retries.ts'
import { URGENT } from '../store/queue.ts'
import type { Parts } from './parts.ts'
import type { HostState, OpenWork } from './state.ts'
import { placesOf } from './work-message.ts'

export type Ending = 'done' | 'failed' | 'canceled' | 'lost'

export class WorkDesk {
  readonly #parts: Parts
  #admitting: Promise<void> | null = null
  #isAskedAgain = false

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** A guest is to be backed up. `now`: its window does not count. Returns the work that is open already if there is one. */
  backUp(
    host: HostState,
    job: string,
    guest: string,
    due: number,
    { full, now = false }: { full?: boolean; now?: boolean } = {},
  ): OpenWork {
    const { state, planner } = this.#parts
    const open = state
      .worksOfGuest(guest)
      .find((work) => work.kind === 'run' && work.job === job && work.host === host.name)
    if (open !== undefined) {
      // It waits for its window, and somebody wants it now; the time in its archive's name stays.
      if (now && open.state === 'waiting' && open.asked.now !== true) {
        open.asked = { ...open.asked, now: true, ...(full === undefined ? {} : { full }) }
        open.notBefore = null
        planner.remove(open.id)
        this.plan(open)
        this.#parts.ledger.work(open)
      }
      return open
    }
    const work = this.#made('run', host, {
      job,
      guest,
      due,
      asked: { ...(full === undefined ? {} : { full }), ...(now ? { now } : {}) },
    })
    this.plan(work)
    return work
  }

  /** A guest's job is due. */
  due(host: HostState, { id, job, guest, due }: DueWork): void {
    this.plan(this.#made('run', host, { id, job, guest, due, asked: {} }))
  }

  /** A work that needs no slots. It goes into its host's queue at once, and waits there if the host is away. */
  ask(
    kind: Exclude<Work['kind'], 'run'>,
    host: HostState,
    { job = null, guest = null, asked = {} }: { job?: string | null; guest?: string | null; asked?: OpenWork['asked'] },
  ): OpenWork {
    const work = this.#made(kind, host, { job, guest, due: this.#parts.clock.now(), asked })
    this.#send(work)
    return work
  }

  /** Tells the planner of a backup that waits. */
  plan(work: OpenWork): void {
    const { state, planner } = this.#parts
    const host = state.hosts.get(work.host)
    const job = host?.jobs.get(work.job ?? '')
    if (job !== undefined) work.places = placesOf(job.places)
    const notBefore = work.notBefore?.getTime() ?? 0
    // An archive's name is not of the host's future. Until its clock is there, the work would wait on the host, and keep its slots from others.
    const early = host === undefined || host.behind === 0 ? 0 : work.due.getTime() + host.behind
    planner.add({
      id: work.id,
      host: work.host,
      job: work.job!,
      guest: work.guest!,
      due: work.due.getTime(),
      lastGood: state.guests.get(work.guest!)?.lastGood?.getTime() ?? null,
      places: work.places,
      window: work.asked.now === true ? null : (job?.window ?? null),
      notBefore: Math.max(notBefore, early),
      isEarly: early > notBefore,
    })
  }

  /** Gives slots to all that may begin now. Called after whatever may have freed some. */
  admit(): Promise<void> {
    this.#isAskedAgain = true
    this.#admitting ??= this.#admitAll().finally(() => {
      this.#admitting = null
    })
    return this.#admitting
  }

  async #admitAll(): Promise<void> {
    const { database, planner, state, ledger, clock } = this.#parts
    while (this.#isAskedAgain) {
      this.#isAskedAgain = false
      if (database.isAway) return
      const begin = planner.next(clock.now())
      for (const { id } of begin) {
        const work = state.works.get(id)
        if (work !== undefined) this.#send(work)
        else planner.free(id)
      }
      await ledger.flush().catch(() => {})
    }
  }

  #send(work: OpenWork): void {
    const { ledger, queues, state, changes } = this.#parts
    work.state = 'sent'
    ledger.work(work)
    const { id, kind, host, guest, places } = work
    const key =
      kind === 'run' || kind === 'prune' ? `${kind === 'run' ? '' : 'prune '}${guest ?? work.job}` : `${kind} ${id}`
    const storage = places.find((place) => place.storage !== null)?.storage ?? null
    ledger.write(
      (session) => queues.send(session, host, [{ id, key, storage, priority: kind === 'run' ? 0 : URGENT }]),
      () => {
        const there = state.hosts.get(host)
        if (work.state !== 'sent' || work.host !== host || there === undefined) return
        there.sent.add(id)
        there.bell.ring()
      },
    )
    changes.tell('now')
  }

  /** Takes a work out of its host's queue that the host has not fetched, and lets it wait again. */
  unsend(work: OpenWork, notBefore: number | null = null): void {
    if (work.state !== 'sent') return
    this.#outOfQueue(work)
    work.state = 'waiting'
    work.notBefore = notBefore === null ? null : new Date(notBefore)
    this.#parts.ledger.work(work)
    if (work.kind === 'run') this.plan(work)
    else this.#send(work)
  }

  #outOfQueue(work: OpenWork): void {
    const { ledger, queues, state, planner } = this.#parts
    const { id, host } = work
    state.hosts.get(host)?.sent.delete(id)
    if (work.kind === 'run') planner.free(id)
    ledger.write((session) => queues.remove(session, host, id))
  }

  /** The host died with it, or never got it. */
  lose(work: OpenWork, reason: string): void {
    if (work.state === 'sent') this.unsend(work)
    else if (work.state === 'running') this.fail(work, { outcome: 'lost', code: null, reason })
  }

  /** It was given to its host and has not arrived: it is given again. Whatever is no backup needs no slot, so it goes at once. */
  giveAgain(work: OpenWork, reason: string): void {
    if (work.kind === 'run' || work.state !== 'running' || work.attempt >= MOST_ATTEMPTS) {
      this.lose(work, reason)
      return
    }
    const { ledger, queues } = this.#parts
    const { id, host } = work
    ledger.write((session) => queues.lose(session, host, id, reason))
    work.given = null
    work.reason = reason
    this.#send(work)
  }

  /** It did not succeed: it waits and is tried again, or is given up. */
  fail(
    work: OpenWork,
    { outcome, code, reason }: Pick<Unsuccessful, 'outcome' | 'code' | 'reason'>,
    report: OpenWork['report'] = null,
  ): void {
    const { ledger, queues, planner, clock, changes, state } = this.#parts
    const ending = outcome === 'lost' || outcome === 'canceled' ? outcome : 'failed'
    const owner = state.guests.get(work.guest ?? '')?.host
    const hasMoved = owner !== undefined && owner !== work.host
    const mayHaveMoved = owner !== undefined
    const verdict = retryOf({ outcome, code, reason, attempt: work.attempt, hasMoved, mayHaveMoved }, clock.now())
    if (work.kind !== 'run' || work.state !== 'running' || !verdict.again) {
      this.end(work, ending, verdict.reason, report)
      return
    }
    const { id, host } = work
    planner.free(id)
    ledger.write((session) => queues.lose(session, host, id, reason))
    work.progress = null
    work.given = null
    work.isNamed = false
    work.state = 'waiting'
    work.reason = reason
    work.report = report
    work.notBefore = new Date(verdict.notBefore)
    this.plan(work)
    ledger.work(work)
    changes.tell('now', 'hosts')
    const to = hasMoved ? state.hosts.get(owner) : undefined
    if (to !== undefined) this.move(work, to)
  }

  /** A host says that it runs a work that was believed lost. */
  adopt(work: OpenWork, incarnation: string): void {
    const { planner, ledger, state, changes } = this.#parts
    if (work.state === 'sent') this.#outOfQueue(work)
    else planner.remove(work.id)
    state.hosts.get(work.host)?.sent.delete(work.id)
    work.state = 'running'
    work.attempt = Math.max(1, work.attempt)
    work.began ??= new Date(this.#parts.clock.now())
    work.incarnation = incarnation
    work.given = this.#parts.clock.now()
    work.reason = null
    planner.use(work.id, work as OpenWork & { guest: string })
    ledger.work(work)
    changes.tell('now', 'hosts')
  }

  /** Ends a work in whatever state it is. */
  end(work: OpenWork, ending: Ending, reason: string | null, report: OpenWork['report'] = null): void {
    const { ledger, queues, planner } = this.#parts
    const { id, host, kind } = work
    if (work.state === 'sent') this.#outOfQueue(work)
    else if (work.state === 'running') {
      if (kind === 'run') planner.free(id)
      ledger.write((session) =>
        ending === 'lost'
          ? queues.lose(session, host, id, reason ?? ending)
          : queues.complete(session, host, id, { ending }),
      )
    } else {
      planner.remove(id)
      if (work.attempt > 0) ledger.write((session) => queues.remove(session, host, id))
    }
    work.report = report
    this.#over(work, ending, reason)
  }

  #over(work: OpenWork, ending: Ending, reason: string | null): void {
    const { ledger, state, clock, changes, history } = this.#parts
    work.state = ending
    work.reason = reason
    work.ended = new Date(clock.now())
    work.notBefore = null
    ledger.work(work)
    state.removeWork(work)
    history.ended(work)
    if (work.kind === 'run') changes.tell('now', 'hosts', 'guests', 'jobs')
    // Other works that have ended are read from the database.
    else
      ledger.write(
        async () => {},
        () => changes.tell('now'),
      )
  }

  /** A guest is on another host now: what waits for it waits there, if a job of that host has it. */
  move(work: OpenWork, to: HostState): void {
    if (work.kind !== 'run' || work.state === 'running') return
    if (work.state === 'sent') this.unsend(work)
    const { state, planner, ledger, queues } = this.#parts
    const job = to.jobs.get(work.job!)
    if (job === undefined || !job.guests.includes(work.guest!)) {
      this.end(work, 'canceled', `the guest is on ${to.name} now, where no job ${work.job} has it`)
      return
    }
    const { id, host, attempt } = work
    if (attempt > 0) ledger.write((session) => queues.remove(session, host, id))
    planner.remove(id)
    work.notBefore = null
    state.moveWork(work, to.name)
    this.plan(work)
    ledger.work(work)
  }

  #made(
    kind: Work['kind'],
    host: HostState,
    {
      id = randomUUID(),
      job,
      guest,
      due,
      asked,
    }: { id?: string; job: string | null; guest: string | null; due: number; asked: OpenWork['asked'] },
  ): OpenWork {
    const work: OpenWork = {
      id,
      kind,
      host: host.name,
      job,
      guest,
      due: new Date(due),
      state: 'waiting',
      attempt: 0,
      notBefore: null,
      began: null,
      ended: null,
      incarnation: null,
      reason: null,
      asked,
      report: null,
      places: [],
      given: null,
      isNamed: false,
      past: new Set(),
      progress: null,
    }
    this.#parts.state.addWork(work)
    this.#parts.ledger.work(work)
    this.#parts.changes.tell('now')
    return work
  }
}
