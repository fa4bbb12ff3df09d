/** What people look at and ask for. */

import { printable, VmapipeError } from '../../core/errors.ts'
import {
  type CentralJobRow,
  FLEET_TOPICS,
  type FleetGuestRow,
  type FleetStatus,
  type HostRow,
  type JobRow,
  type LookSide,
  type PeopleSide,
  type WorkRow,
} from '../fleet.ts'
import type { AgentArchive } from '../messages/events.ts'
import { readArchives, removeArchives } from '../store/archives.ts'
import { awayError } from '../store/away.ts'
import { removeHost, writeHost } from '../store/hosts.ts'
import { readWorks } from '../store/works.ts'
import type { Rooms } from './agents.ts'
import { askForArchives } from './archive-request.ts'
import { Asked } from './asked.ts'
import { withoutCopies } from './copies.ts'
import type { Parts } from './parts.ts'
import { hostRow, neverRow, workRow } from './rows.ts'
import type { HostState } from './state.ts'

/** Works that wait and are listed in the status; there may be as many as guests. */
const WAITING = 1000

export class People implements PeopleSide, LookSide {
  readonly #parts: Parts
  readonly #rooms: Rooms
  readonly #onDuty: () => void
  readonly #asked: Asked

  constructor(parts: Parts, rooms: Rooms, onDuty: () => void) {
    this.#parts = parts
    this.#rooms = rooms
    this.#onDuty = onDuty
    this.#asked = new Asked(parts, rooms.desk, onDuty)
  }

  async status(): Promise<FleetStatus> {
    this.#onDuty()
    const now = this.#parts.clock.now()
    const hosts: FleetStatus['hosts'] = { up: 0, gone: 0, drained: 0, never: 0 }
    for (const { state } of await this.hosts()) hosts[state] += 1
    const guests: FleetStatus['guests'] = { good: 0, late: 0, overdue: 0, unprotected: 0 }
    for (const { state } of this.#rooms.guestRows.of(this.#parts.state, now)) guests[state] += 1
    const { allWaiting, ...open } = await this.open(WAITING)
    return { hosts, guests, ...open }
  }

  async open(most: number): ReturnType<LookSide['open']> {
    this.#onDuty()
    const { state, planner, clock, problems, database } = this.#parts
    const now = clock.now()
    const running: WorkRow[] = []
    const waiting: WorkRow[] = []
    let allWaiting = 0
    for (const work of state.works.values()) {
      if (work.kind === 'cancel') continue
      if (work.state === 'running') running.push(workRow(work, planner, now))
      else if (++allWaiting <= most) waiting.push(workRow(work, planner, now))
    }
    return {
      running: [...running, ...[...state.hosts.values()].flatMap(ownRows)],
      waiting,
      allWaiting,
      problems: [
        ...(database.isAway ? ['the database is away: agents go on by their own schedules'] : []),
        ...problems.list(now),
      ],
    }
  }

  async tasks(since: string, most: number): Promise<WorkRow[]> {
    this.#onDuty()
    const { database, state, planner, clock } = this.#parts
    return (await readWorks(database, { since, most, kinds: ['verify', 'prune', 'report'] })).map((work) =>
      workRow(state.works.get(work.id) ?? work, planner, clock.now()),
    )
  }

  async lastBackups(): ReturnType<LookSide['lastBackups']> {
    this.#onDuty()
    return await this.#parts.history.lastBackups()
  }

  async runs(filter: Parameters<LookSide['runs']>[0]): ReturnType<LookSide['runs']> {
    this.#onDuty()
    return await this.#parts.history.runs(filter)
  }

  async hosts(): Promise<HostRow[]> {
    this.#onDuty()
    const { state } = this.#parts
    const { heartbeats, tokens } = this.#rooms
    const never = new Set(tokens.hosts().filter((name) => !state.hosts.has(name)))
    return [
      ...[...state.hosts.values()].map((host) => hostRow(state, host, heartbeats.skewOf(host))),
      ...[...never].map(neverRow),
    ].sort((a, b) => (a.host < b.host ? -1 : 1))
  }

  async guests(): Promise<FleetGuestRow[]> {
    this.#onDuty()
    return this.#rooms.guestRows.of(this.#parts.state, this.#parts.clock.now())
  }

  async jobs(): Promise<JobRow[]> {
    this.#onDuty()
    return [...this.#parts.state.hosts.values()].flatMap((host) =>
      [...host.jobs.values()].map((job) => ({ ...job, host: host.name })),
    )
  }

  async works(filter: {
    host?: string
    job?: string
    guest?: string
    since?: string
    most: number
  }): Promise<WorkRow[]> {
    this.#onDuty()
    const { database, state, planner, clock } = this.#parts
    // What is open is newer in memory.
    return (await readWorks(database, filter)).map((work) =>
      workRow({ ...(state.works.get(work.id) ?? work) }, planner, clock.now()),
    )
  }

  async archives(filter: { guest?: string; host?: string }): Promise<(AgentArchive & { host: string; job: string })[]> {
    this.#onDuty()
    const { database, state } = this.#parts
    return withoutCopies(await readArchives(database, filter), state)
  }

  async drain(name: string, drained: boolean): Promise<void> {
    this.#there()
    const host = this.#host(name)
    const { ledger, state, changes } = this.#parts
    const { desk, heartbeats } = this.#rooms
    host.stored.drained = drained
    ledger.write((session) => writeHost(session, host.stored))
    heartbeats.tellPlanner(host)
    // What it has not fetched yet waits again.
    if (drained) for (const work of state.worksOfHost(name)) if (work.kind === 'run') desk.unsend(work)
    await ledger.flush()
    void desk.admit()
    changes.tell('hosts', 'now')
  }

  async forgetHost(name: string): Promise<void> {
    const host = this.#host(name)
    if (host.isThere)
      throw new VmapipeError('USAGE', `the host ${name} is up`, { hint: 'stop its agent first, and revoke its token' })
    const { ledger, state, planner, queues, changes } = this.#parts
    for (const work of state.worksOfHost(name)) this.#rooms.desk.end(work, 'canceled', 'its host was forgotten')
    await ledger.flush()
    state.hosts.delete(name)
    planner.removeHost(name)
    state.dues.removeHost(name)
    this.#rooms.owners.forget(name)
    ledger.write((session) => removeHost(session, name))
    await ledger.flush()
    await queues.removeHost(name)
    changes.tell(...FLEET_TOPICS)
  }

  async start(asked: Parameters<PeopleSide['start']>[0]): Promise<string[]> {
    return await this.#asked.start(asked)
  }

  async verify(asked: Parameters<PeopleSide['verify']>[0]): Promise<string> {
    return await this.#asked.verify(asked)
  }

  async prune(asked: Parameters<PeopleSide['prune']>[0]): Promise<string> {
    return await this.#asked.prune(asked)
  }

  async cancel(id: string, reason: string): Promise<void> {
    this.#there()
    const { state, ledger } = this.#parts
    const { desk, heartbeats } = this.#rooms
    const work = state.works.get(id)
    if (work === undefined) throw new VmapipeError('USAGE', 'there is no such work, or it has ended')
    const host = state.hosts.get(work.host)
    if (work.state !== 'running' || host === undefined || !host.isUp) {
      // If the host runs it after all, its next heartbeat is told to end it.
      heartbeats.giveUp(id)
      desk.end(work, 'canceled', reason)
    } else if (!state.worksOfHost(work.host).some(({ kind, asked }) => kind === 'cancel' && asked.work === id))
      desk.ask('cancel', host, { job: work.job, guest: work.guest, asked: { work: id, reason: reason.slice(0, 500) } })
    await ledger.flush()
    void desk.admit()
  }

  async rescan(): Promise<void> {
    this.#there()
    const { state, ledger, changes } = this.#parts
    ledger.write((session) => removeArchives(session))
    for (const host of state.hosts.values()) {
      host.lists.clear()
      host.listBytes = 0
      askForArchives(host, state, this.#rooms.desk)
    }
    await ledger.flush()
    changes.tell('archives')
  }

  async centralJobs(): Promise<CentralJobRow[]> {
    this.#onDuty()
    return this.#rooms.central.rows()
  }

  async putCentralJob(name: string, text: string): Promise<void> {
    this.#onDuty()
    await this.#rooms.central.put(name, text)
  }

  async removeCentralJob(name: string): Promise<void> {
    this.#onDuty()
    await this.#rooms.central.remove(name)
  }

  watch(changed: Parameters<PeopleSide['watch']>[0]): () => void {
    return this.#parts.changes.watch(changed)
  }

  /** Nothing new is begun while the database is away. */
  #there(): void {
    this.#onDuty()
    if (this.#parts.database.isAway) throw awayError()
  }

  #host(name: string): HostState {
    this.#onDuty()
    const host = this.#parts.state.hosts.get(name)
    if (host === undefined) throw new VmapipeError('USAGE', `there is no host '${printable(name)}'`)
    return host
  }
}

/** What a host runs by its own schedule. It cannot be canceled from here, as it is no work. */
function ownRows(host: HostState): WorkRow[] {
  return [...host.running.values()].map(({ job, guest, since, progress }) => ({
    ...{
      id: `own.${host.name}.${Buffer.from(guest ?? '')
        .toString('hex')
        .slice(0, 60)}`,
      kind: 'run' as const,
      host: host.name,
      job,
      guest,
    },
    ...{ due: since, state: 'running' as const, attempt: 1, began: since, ended: null },
    ...{ reason: "by the host's own schedule", progress, report: null },
  }))
}
