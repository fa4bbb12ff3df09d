/**
 * The planner of a large fleet: its own work, how soon a limit that has room is used, and how soon its page answers. First in virtual time, with
 * the planner's pure parts; then as it is served, on a real PostgreSQL, with agents that speak to it over HTTP.
 */

import { type SimulationResult, simulate } from '../test/fleet/simulation.ts'
import { type Phase, type Served, served, type View } from './fleet/served.ts'
import { median } from './statistics.ts'
import type { Goal, Section, Settings, Table } from './topic.ts'

const SHARE = 0.05
const DISPATCH_MS = 1000
const ANSWER_MS = 100
const MiB = 2 ** 20

interface Measured extends SimulationResult {
  /** Seconds of a processor, of the planner and the simulation together. */
  processor: number
}

export async function run(settings: Settings): Promise<Section> {
  const hosts = settings.quick ? 50 : 500
  const simulated = inVirtualTime(settings, hosts)
  const real = await served({ hosts, folder: settings.folder, quick: settings.quick })
  return {
    title: 'The planner of a fleet',
    intro: [...simulated.intro, ...servedIntro(real)],
    tables: [...simulated.tables, phasesTable(real), viewsTable(real)],
    goals: [...simulated.goals, ...servedGoals(real)],
  }
}

function servedIntro({ hosts, guests, streams, first, begin, memory }: Served): string[] {
  return [
    `The second part is the planner as it is served: one process with the service, the server of agents and the page, on a PostgreSQL of its own whose files are in memory (\`fsync\` is off), and ${hosts} hosts with ${guests} guests in another process. They speak as agents do, over HTTP without TLS: a heartbeat each 5 seconds, the inventory each 10 minutes, a long poll for works, and after each backup its report and the list of the guest's archives. Backups are made up: of the ${streams} that run at once, over two storages, any may be the next to end. The database has two weeks of history, ${guests * 14} works, when it begins.`,
    `All guests are due at the same moment: ${first.length} of them had been received by their hosts ${seconds(quantile(first, 1))} later, the first half after ${seconds(quantile(first, 0.5))}. The others wait. To take hello, inventory and heartbeat of all hosts cost ${begin.planner.toFixed(1)} seconds of a processor. The planner had ${(memory.resident / MiB).toFixed(0)} MiB of memory at the end, and ${(memory.most / MiB).toFixed(0)} MiB at most.`,
    'Dispatch is the time from the moment at which a backup ends, so that its slot is free, until another host has received the next. The answers of the page are timed as a browser gets them, signed in and compressed, while the backups of a night go on; their processor time is what the planner used for each, besides its other work.',
  ]
}

function phasesTable({ phases }: Served): Table {
  return {
    head: ['', 'seconds', 'backups that ended', 'planner', 'PostgreSQL', 'dispatch, median', '99 of 100 within'],
    rows: phases.map((phase) => [
      phase.name,
      phase.seconds.toFixed(0),
      `${phase.ended}`,
      percent(phase.planner / phase.seconds),
      percent(phase.database / phase.seconds),
      seconds(quantile(phase.dispatch, 0.5)),
      seconds(quantile(phase.dispatch, 0.99)),
    ]),
  }
}

function viewsTable({ views }: Served): Table {
  return {
    head: ['view of the page', 'ms, median', '99 of 100 within', 'ms of a processor', 'KiB'],
    rows: views.map(({ name, times, processor, bytes }) => [
      name,
      quantile(times, 0.5).toFixed(0),
      quantile(times, 0.99).toFixed(0),
      processor.toFixed(1),
      (bytes / 1024).toFixed(0),
    ]),
  }
}

function servedGoals({ hosts, guests, phases, views }: Served): Goal[] {
  const name = `${hosts} hosts with ${guests} guests, served`
  const [night, busy] = phases
  const own = (phase: Phase) => (phase.planner / phase.seconds) * 100
  const dispatch = quantile(
    [night, busy].flatMap((phase) => phase.dispatch),
    0.99,
  )
  const slowest = views.reduce((most, view) => (slow(view) > slow(most) ? view : most))
  return [
    {
      job: `planner of ${name}: its own work in a night`,
      goal: 'less than 5 % of a processor',
      measured: `${own(night).toFixed(1)} %; ${own(busy).toFixed(1)} % at ten backups in a second`,
      met: own(night) < SHARE * 100,
      value: own(night),
    },
    {
      job: `planner of ${name}: dispatch`,
      goal: 'within a second',
      measured: `99 of 100 within ${seconds(dispatch)}`,
      met: dispatch < DISPATCH_MS,
      value: dispatch / 1000,
    },
    {
      job: `page of ${name}`,
      goal: 'answers within 100 ms',
      measured: `99 of 100 within ${slow(slowest).toFixed(0)} ms for the slowest view, ${slowest.name}`,
      met: slow(slowest) < ANSWER_MS,
      value: slow(slowest),
    },
  ]
}

function slow({ times }: View): number {
  return quantile(times, 0.99)
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`
const percent = (share: number) => `${(share * 100).toFixed(1)} %`

function inVirtualTime({ runs, quick }: Settings, hosts: number): Omit<Section, 'title'> {
  const guests = hosts * 40
  const all = Array.from({ length: quick ? 1 : Math.min(3, runs) }, (_, round) => night(hosts, guests, round + 1))
  const share = Math.max(...all.map(({ processor, busyHours }) => processor / (busyHours * 3600)))
  const slowest = Math.max(...all.map(({ dispatch }) => dispatch.reduce((most, time) => Math.max(most, time), 0)))
  const wrong = all.flatMap(({ violations }) => violations)
  if (wrong.length > 0) throw new Error(`the simulation found: ${wrong[0]}`)
  const name = `${hosts} hosts with ${guests} guests`
  return {
    intro: [
      `${name} in virtual time: a night in which every guest is backed up, over two storages of ${streamsOf(hosts)} streams each; a backup takes 1 to 10 minutes, and each host beats every 5 seconds. The planner's pure parts decide; network and database are left out, but for delays of up to 0.2 seconds for each message.`,
      'The processor time is that of the planner and of the simulated hosts together, all of it counted as if it fell between the first and the last backup; so the planner alone takes less. Dispatch is the time from the moment at which all limits of a waiting guest have room until its backup begins.',
    ],
    tables: [
      {
        head: [
          'night',
          'backups',
          'hours from the first to the last backup',
          'seconds of a processor',
          'lanes looked at',
          'dispatch, median',
          'longest',
        ],
        rows: all.map(({ archives, busyHours, processor, steps, dispatch }, round) => [
          `${round + 1}`,
          `${archives}`,
          busyHours.toFixed(1),
          processor.toFixed(1),
          `${steps}`,
          `${(median(dispatch) / 1000).toFixed(2)} s`,
          `${(dispatch.reduce((most, time) => Math.max(most, time), 0) / 1000).toFixed(2)} s`,
        ]),
      },
    ],
    goals: [
      {
        job: `planner of ${name}: its own work`,
        goal: 'less than 5 % of a processor',
        measured: `${(share * 100).toFixed(3)} %`,
        met: share < SHARE,
        value: share * 100,
      },
      {
        job: `planner of ${name}: dispatch`,
        goal: 'within a second',
        measured: `${(slowest / 1000).toFixed(2)} s at most`,
        met: slowest < DISPATCH_MS,
        value: slowest / 1000,
      },
    ],
  }
}

/** Enough for all guests in a night. */
function streamsOf(hosts: number): number {
  return Math.ceil(hosts * 0.3)
}

function night(hosts: number, guests: number, seed: number): Measured {
  const before = process.cpuUsage()
  const result = simulate({ seed, hosts, guests, nights: 0.5, streams: streamsOf(hosts), isFine: true, longest: 10 })
  const { user, system } = process.cpuUsage(before)
  return { ...result, processor: (user + system) / 1e6 }
}
