/** Reads what an earlier planner left in the database. Nothing begins on a host before its first heartbeat, which says what runs there. */

import { FLEET_TOPICS } from '../fleet.ts'
import { readListSizes } from '../store/archives.ts'
import { readGuests } from '../store/guests.ts'
import { readHosts, readInventories } from '../store/hosts.ts'
import { readFailures, readLastDay, readNewestDue, readOpenWorks } from '../store/works.ts'
import type { Rooms } from './agents.ts'
import { listKey } from './caps.ts'
import type { Parts } from './parts.ts'
import { HostState } from './state.ts'
import { placesOf } from './work-message.ts'

/** Failures that are still of interest, in milliseconds. */
const RECENT_MS = 3 * 24 * 3600_000

export async function load(parts: Parts, { heartbeats, desk, tokens, central, owners, due }: Rooms): Promise<void> {
  const { database, state, planner, ledger, queues, clock, history, changes, caps } = parts
  ledger.clear()
  history.clear()
  for (const host of state.hosts.keys()) planner.removeHost(host)
  for (const [id, work] of state.works) {
    planner.remove(id)
    planner.free(work.id)
  }
  for (const host of state.hosts.values()) {
    for (const key of host.running.keys()) planner.free(key)
    planner.heard(host.name)
  }
  state.clear()
  await tokens.load()
  await central.load()
  for (const stored of await readHosts(database)) {
    const host = new HostState(stored, clock.now())
    state.hosts.set(stored.host, host)
    await queues.make(stored.host)
    heartbeats.tellPlanner(host)
  }
  for (const { host, content } of await readInventories(database)) state.hosts.get(host)?.take(content)
  for (const { host, place, guest, bytes } of await readListSizes(database)) {
    const there = state.hosts.get(host)
    there?.lists.set(listKey(place, guest), bytes)
    if (there !== undefined) there.listBytes += bytes
  }
  for (const { host, ...brought } of await readLastDay(database)) {
    const there = state.hosts.get(host)
    if (there !== undefined) caps.hasRun(there, brought)
  }
  for (const host of state.hosts.values()) heartbeats.await(host)
  for (const guest of await readGuests(database)) state.guests.set(guest.guest, { ...guest, failure: null })
  for (const { guest, reason } of await readFailures(database, new Date(clock.now() - RECENT_MS))) {
    const there = state.guests.get(guest)
    if (there !== undefined) there.failure = reason
  }
  owners.restore()
  for (const host of state.hosts.values())
    if (host.inventory !== null) owners.report(host, tokens.patternsOf(host.name))
  for (const { job, guest, due } of await readNewestDue(database, new Date(clock.now() - RECENT_MS)))
    state.dues.done(job, guest, due.getTime())
  for (const host of state.hosts.values()) due.take(host)
  for (const stored of await readOpenWorks(database)) {
    const job = state.hosts.get(stored.host)?.jobs.get(stored.job ?? '')
    const work = {
      ...stored,
      places: placesOf(job?.places ?? []),
      given: clock.now(),
      isNamed: false,
      past: new Set<string>(),
      progress: null,
    }
    state.addWork(work)
    if (work.kind === 'run') {
      if (work.state === 'waiting') desk.plan(work)
      // It may be running: its slots are taken until its host says otherwise, or is gone.
      else planner.use(work.id, { host: work.host, guest: work.guest, places: work.places })
    }
    if (work.state === 'sent') state.hosts.get(work.host)?.sent.add(work.id)
  }
  changes.tell(...FLEET_TOPICS)
}
