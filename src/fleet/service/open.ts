/** Opens the planner as a whole: database, queues, what is known, and the clockwork. */

import { systemClock } from '../../jobs/clock.ts'
import type { Fleet } from '../fleet.ts'
import { Planner } from '../planner/planner.ts'
import { untilThere } from '../store/away.ts'
import { migrate } from '../store/migrate.ts'
import { openDatabase } from '../store/open.ts'
import { WorkQueues } from '../store/queue.ts'
import { readSessions, writeSessions } from '../store/sessions.ts'
import { Turn } from '../store/turn.ts'
import { Agents } from './agents.ts'
import { Caps } from './caps.ts'
import { CentralJobs } from './central.ts'
import { Changes } from './changes.ts'
import { Clockwork } from './clockwork.ts'
import { Delivery } from './delivery.ts'
import { Due } from './due.ts'
import { Duty } from './duty.ts'
import { Events } from './events.ts'
import { Heartbeats } from './heartbeats.ts'
import { History } from './history.ts'
import { Ledger } from './ledger.ts'
import { load } from './load.ts'
import type { FleetOptions } from './options.ts'
import { GuestOwners } from './owners.ts'
import type { Parts } from './parts.ts'
import { People } from './people.ts'
import { Problems } from './problems.ts'
import { GuestRows } from './rows.ts'
import { FleetState } from './state.ts'
import { Tokens } from './tokens.ts'
import { WorkDesk } from './work-desk.ts'

const HEARTBEAT_MS = 5_000
const KEEP_DAYS = 400

/**
 * Waits until the database is there and no other planner uses it.
 *
 *     const fleet = await openFleet({ folder: '/var/lib/vmapipe/fleet' })
 *     const { text } = await fleet.tokens.make({ name: 'host-1', kind: 'agent' })
 */
export async function openFleet(options: FleetOptions): Promise<Fleet> {
  const { inform = () => {}, warn = () => {}, clock = systemClock, heartbeat = HEARTBEAT_MS, signal } = options
  const database = await openDatabase({ ...options, inform, warn })
  const duty = new Duty(database, inform)
  const turn = new Turn(database)
  const changes = new Changes()
  let queues: WorkQueues | null = null
  const close = async () => {
    changes.close()
    await duty.close()
    await queues?.close()
    await database.close()
  }
  try {
    await duty.wait(signal)
    const until = signal ?? new AbortController().signal
    await untilThere(() => migrate(database, inform), until)
    queues = await untilThere(() => WorkQueues.open(database, warn), until)
    const storages = limitsOf(options.storages)
    const state = new FleetState()
    const ledger = new Ledger((body) => turn.transaction(body), warn)
    const problems = new Problems(warn)
    const parts: Parts = {
      ...{ database, turn, queues, changes, clock, heartbeat, state, ledger },
      planner: new Planner({ storages }),
      history: new History({ database, state, ledger }),
      ...{ problems, caps: new Caps({ state, problems, clock }) },
    }
    const desk = new WorkDesk(parts)
    const owners = new GuestOwners(parts, desk)
    const rooms = {
      ...{ desk, owners, delivery: new Delivery(parts, desk) },
      heartbeats: new Heartbeats(parts, desk, owners),
      events: new Events(parts, desk, owners),
      due: new Due(parts, desk),
      tokens: new Tokens(parts),
      central: new CentralJobs(parts),
      guestRows: new GuestRows(),
    }
    let tookOver = () => {}
    const reload = async () => {
      await load(parts, rooms)
      tookOver()
    }
    await untilThere(() => duty.begin(turn, reload), until)
    const clockwork = new Clockwork(parts, rooms, duty, options.keep ?? KEEP_DAYS, warn)
    const onDuty = () => duty.check()
    return {
      agents: new Agents(parts, rooms, onDuty),
      people: new People(parts, rooms, onDuty),
      tokens: rooms.tokens,
      sessions: {
        onChange(changed) {
          tookOver = changed
        },
        read: () => readSessions(database, new Date(clock.now())),
        write: (kept, gone) => turn.transaction((session) => writeSessions(session, kept, gone, new Date(clock.now()))),
      },
      setStorages(now) {
        parts.planner.setStorages(limitsOf(now))
        void desk.admit()
      },
      async close() {
        await clockwork.stop()
        for (const host of parts.state.hosts.values()) host.endPoll?.()
        await parts.ledger.flush().catch(() => {})
        await rooms.tokens.writeUsed(true).catch(() => {})
        await close()
      },
    }
  } catch (error) {
    await close().catch(() => {})
    throw error
  }
}

function limitsOf(storages: FleetOptions['storages'] = {}): Map<string, number> {
  return new Map(Object.entries(storages).map(([name, { parallel }]) => [name, parallel]))
}
