/** Which hosts are up, and what they run: by what their heartbeats say, and by their silence. */

import { VmapipeError } from '../../core/errors.ts'
import type { Beat, BeatReply, RunningWork } from '../messages/beat.ts'
import type { Hello, HelloReply } from '../messages/hello.ts'
import { OLDEST_PROTOCOL, PROTOCOL } from '../messages/version.ts'
import { type StoredHost, writeHost, writeSeen } from '../store/hosts.ts'
import { TOUCH_MS } from '../store/queue.ts'
import { OwnRuns } from './own-runs.ts'
import type { GuestOwners } from './owners.ts'
import { type Parts, SILENT_BEATS } from './parts.ts'
import { HostState, type OpenWork } from './state.ts'
import type { WorkDesk } from './work-desk.ts'

/** A host whose clock is so far away from ours is told to people, in milliseconds. */
const SKEW_MS = 60_000
/** A clock that has moved by so much is a change for those who look. */
const TOLD_SKEW_MS = 1000

/** Starts of an agent that are remembered. */
const MOST_FORMERS = 20

/** So often it is looked for silent hosts. */
export const LOOK_MS = 1_000

export class Heartbeats {
  readonly #parts: Parts
  readonly #desk: WorkDesk
  readonly #owners: GuestOwners
  readonly #ownRuns: OwnRuns
  #touched: number
  /** Something may begin that could not before. Most heartbeats change nothing, and there are a hundred a second. */
  #isAnythingFree = false
  #looked: number

  constructor(parts: Parts, desk: WorkDesk, owners: GuestOwners) {
    this.#parts = parts
    this.#desk = desk
    this.#owners = owners
    this.#ownRuns = new OwnRuns(parts)
    this.#touched = parts.clock.now()
    this.#looked = parts.clock.now()
  }

  async hello(name: string, said: Hello): Promise<HelloReply> {
    const { state, ledger, queues, clock, changes, heartbeat } = this.#parts
    if (said.protocol < OLDEST_PROTOCOL)
      throw new VmapipeError(
        'USAGE',
        `the agent speaks protocol ${said.protocol}, and this planner ${OLDEST_PROTOCOL} to ${PROTOCOL}`,
        {
          hint: 'update vmapipe on the host',
        },
      )
    const now = clock.now()
    const host = state.hosts.get(name) ?? new HostState(newHost(name), now)
    const { labels, zone, parallel, version, incarnation } = said
    this.#refuseFormer(host, incarnation)
    // Its connection is that of an agent that has died: nothing is given to it.
    if (host.stored.incarnation !== incarnation) host.endPoll?.()
    this.#begun(host, incarnation)
    host.stored = { ...host.stored, labels, zone, parallel, version, incarnation, seen: new Date(now) }
    host.seenAt = now
    host.skew = said.clock - now
    await queues.make(name)
    // Only now: what is admitted for a host needs its queue.
    state.hosts.set(name, host)
    host.isGreeted = true
    host.hasReported = false
    this.#owners.setUp(host)
    ledger.write((session) => writeHost(session, host.stored))
    await ledger.flush()
    this.tellPlanner(host)
    changes.tell('hosts', 'guests')
    return {
      protocol: Math.min(said.protocol, PROTOCOL),
      host: name,
      heartbeat,
      drained: host.stored.drained,
    }
  }

  /** It needs no database: a host is up also while that is away. */
  beat(name: string, said: Beat): BeatReply {
    const { state, clock, changes } = this.#parts
    const host = knownHost(state.hosts.get(name))
    const now = clock.now()
    this.#refuseFormer(host, said.incarnation)
    host.seenAt = now
    host.skew = said.clock - now
    host.stored.seen = new Date(now)
    host.stored.incarnation = said.incarnation
    const ownBefore = host.running.size
    const stop = this.#takeRunning(host, said)
    if (said.running.length > 0 || ownBefore > 0) changes.tell('now')
    if (host.running.size !== ownBefore) changes.tell('hosts')
    this.#lookAtClock(host)
    this.#awaited(host)
    if (!host.isUp) {
      host.isUp = true
      this.tellPlanner(host)
      this.#owners.setUp(host)
      this.#isAnythingFree = true
      changes.tell('hosts', 'guests')
    }
    if (this.#isAnythingFree) void this.#desk.admit()
    this.#isAnythingFree = false
    const warnings = [...host.notes]
    host.notes.clear()
    return { drained: host.stored.drained, closer: changes.areWatched, stop, jobsChanged: host.jobsChanged, warnings }
  }

  /** A new start of the agent: the one before is over. */
  #begun({ stored, formers }: HostState, incarnation: string): void {
    formers.delete(incarnation)
    if (stored.incarnation === null || stored.incarnation === incarnation) return
    formers.set(stored.incarnation, this.#parts.clock.now())
    if (formers.size > MOST_FORMERS) formers.delete(formers.keys().next().value!)
  }

  /**
   * One that is over speaks again while the later one is there: a host was copied with its token. Both would be taken for one host that is started
   * again all the time, and each would lose what the other does. Throws USAGE.
   */
  #refuseFormer({ name, isThere, formers }: HostState, incarnation: string): void {
    const { clock, problems, heartbeat } = this.#parts
    const over = formers.get(incarnation)
    if (over === undefined || !isThere) return
    // What it said just before it ended may come late.
    if (clock.now() - over > heartbeat)
      problems.add(`two agents use the token of the host ${name}: each host needs one of its own`, clock.now())
    throw new VmapipeError('USAGE', `another agent of the host ${name} has begun later, and is there`, {
      hint: 'if this host is a copy of that one, make a token for it: vmapipe fleet token new',
    })
  }

  /** A clock is told of in seconds. It differs by some milliseconds from one heartbeat to the next. */
  #lookAtClock(host: HostState): void {
    const skew = host.skew ?? 0
    if (Math.abs(skew - host.toldSkew) < TOLD_SKEW_MS) return
    host.toldSkew = skew
    this.#parts.changes.tell('hosts')
  }

  /** Compares what the host names with what it was given. Returns the works that it is to end. */
  #takeRunning(host: HostState, { incarnation, running }: Beat): string[] {
    const { state, clock, heartbeat } = this.#parts
    const stop: string[] = []
    const own = new Map<string, RunningWork>()
    const named = new Set<string>()
    for (const told of running) {
      const work = told.id === null ? undefined : state.works.get(told.id)
      if (work === undefined || work.kind !== 'run') {
        // It told the end of it while this heartbeat was under way.
        if (told.id !== null && state.ended.get(told.id) === host.name) continue
        // Of its own schedule, or of another database, and let go on: it is a backup.
        if (work === undefined) own.set(`${host.name} runs ${JSON.stringify([told.job, told.guest])}`, told)
        if (told.id !== null && this.#isGivenUp(told.id)) stop.push(told.id)
        if (work?.host === host.name) this.#named(work, named)
        continue
      }
      // Another host's: either it has moved on, or this host lies. In neither case it counts here.
      if (work.host !== host.name) {
        if (work.past.has(host.name)) stop.push(work.id)
        continue
      }
      if (work.state !== 'running' && !this.#adopt(host, work, incarnation)) continue
      this.#named(work, named)
      work.incarnation = incarnation
      work.progress = told.progress
    }
    for (const work of state.worksOfHost(host.name)) {
      if (work.state !== 'running' || named.has(work.id)) continue
      const isOfEarlierStart = work.incarnation !== incarnation
      const isLate = clock.now() - (work.given ?? 0) > SILENT_BEATS * heartbeat
      if (work.kind === 'run' && (isOfEarlierStart || isLate))
        this.#lose(work, isOfEarlierStart ? 'the agent was started again' : 'the host does not run it')
      else if (work.kind !== 'run' && !work.isNamed && (isOfEarlierStart || isLate))
        this.#desk.giveAgain(work, 'it did not arrive at the host')
      else if (isOfEarlierStart) this.#lose(work, 'the agent was started again')
    }
    if (this.#ownRuns.take(host, own)) this.#isAnythingFree = true
    return stop
  }

  /** A host may name what it was given before, and not all that waits for it: that would take slots from others. */
  #adopt(host: HostState, work: OpenWork, incarnation: string): boolean {
    const { state, caps } = this.#parts
    const withSlots = state
      .worksOfHost(host.name)
      .filter(({ id, kind, state }) => id !== work.id && kind === 'run' && state !== 'waiting')
    if (withSlots.length >= (host.stored.parallel ?? 1)) {
      caps.hit(host, 'it names more works as running than it may run at once: they wait all the same')
      return false
    }
    this.#desk.adopt(work, incarnation)
    return true
  }

  /** It has arrived, and is not given again while the host names it. */
  #named(work: OpenWork, named: Set<string>): void {
    named.add(work.id)
    work.given = this.#parts.clock.now()
    work.isNamed = true
  }

  /** A planner that has just begun does not know what the host has begun by itself: what shares a limit with it waits. */
  await(host: HostState): void {
    host.awaitedSince = this.#parts.clock.now()
    this.#parts.planner.notHeard(host.name, [...host.places.values()])
    this.tellPlanner(host)
  }

  #awaited(host: HostState): void {
    if (host.awaitedSince === null) return
    host.awaitedSince = null
    this.#parts.planner.heard(host.name)
    this.tellPlanner(host)
    this.#isAnythingFree = true
  }

  #lose(work: OpenWork, reason: string): void {
    this.#isAnythingFree = true
    // Its host may not have heard that somebody has canceled it: it is not tried again.
    const isOfIt = ({ kind, asked }: OpenWork) => kind === 'cancel' && asked.work === work.id
    const cancel = this.#parts.state.worksOfHost(work.host).find(isOfIt)
    if (cancel === undefined || work.state !== 'running') {
      this.#desk.lose(work, reason)
      return
    }
    this.giveUp(work.id)
    this.#desk.end(work, 'canceled', String(cancel.asked.reason ?? reason))
    this.#desk.end(cancel, 'done', reason)
  }

  /** Works that people canceled while the host was away. */
  readonly #givenUp = new Map<string, number>()

  giveUp(id: string): void {
    this.#givenUp.set(id, this.#parts.clock.now())
    if (this.#givenUp.size > 10_000) this.#givenUp.delete(this.#givenUp.keys().next().value!)
  }

  #isGivenUp(id: string): boolean {
    return this.#givenUp.has(id)
  }

  /** Finds hosts that have fallen silent; their slots are free, and their works wait until they are back or their guests are elsewhere. */
  lookForSilence(): void {
    const { state, clock, heartbeat, changes } = this.#parts
    const now = clock.now()
    // If it was we who stood still, or whose clock was set, no host was silent.
    const stood = now - this.#looked - LOOK_MS
    this.#looked = now
    if (stood > 0)
      for (const host of state.hosts.values()) {
        host.seenAt += stood
        if (host.awaitedSince !== null) host.awaitedSince += stood
      }
    const before = now - SILENT_BEATS * heartbeat
    for (const host of state.hosts.values()) {
      if (host.awaitedSince !== null && host.awaitedSince < before) this.#awaited(host)
      if (host.seenAt >= before) continue
      const works = state.worksOfHost(host.name).filter(({ state }) => state === 'running' || state === 'sent')
      if (!host.isThere && works.length === 0) continue
      host.isUp = false
      host.isGreeted = false
      this.tellPlanner(host)
      this.#owners.setUp(host)
      for (const work of works)
        if (work.kind === 'run' || work.state === 'running') this.#lose(work, 'the host is gone')
      this.#ownRuns.drop(host)
      host.endPoll?.()
      changes.tell('hosts', 'guests', 'now')
    }
  }

  /** Tells the database, now and then, of what only heartbeats say. */
  async touch(): Promise<void> {
    const { state, clock, queues, turn, database } = this.#parts
    if (clock.now() - this.#touched < TOUCH_MS || database.isAway) return
    this.#touched = clock.now()
    const seen = [...state.hosts.values()].flatMap(({ stored: { host, seen } }) =>
      seen === null ? [] : { host, seen },
    )
    if (seen.length > 0) await turn.transaction((session) => writeSeen(session, seen))
    for (const host of state.hosts.values()) {
      const ids = state
        .worksOfHost(host.name)
        .filter(({ state }) => state === 'running')
        .map(({ id }) => id)
      await queues.touch(host.name, ids)
    }
  }

  tellPlanner(host: HostState): void {
    const { zone, parallel, drained } = host.stored
    this.#parts.planner.setHost({
      host: host.name,
      zone: zone ?? 'UTC',
      parallel: parallel ?? 1,
      isUp: host.isUp,
      isExpected: host.isGreeted || host.awaitedSince !== null,
      isDrained: drained,
    })
  }

  /** What people should know of its clock. */
  skewOf(host: HostState): string | null {
    if (host.skew === null || Math.abs(host.skew) < SKEW_MS) return null
    const seconds = Math.round(Math.abs(host.skew) / 1000)
    return `its clock is ${seconds} s ${host.skew > 0 ? 'ahead of' : 'behind'} the planner's`
  }
}

export function knownHost(host: HostState | undefined): HostState {
  if (host === undefined)
    throw new VmapipeError('USAGE', 'the host has not said hello', { hint: 'its agent says hello first' })
  return host
}

function newHost(host: string): StoredHost {
  return { host, labels: [], zone: null, parallel: null, version: null, incarnation: null, drained: false, seen: null }
}
