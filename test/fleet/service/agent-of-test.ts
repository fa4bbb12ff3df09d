/** An agent as the planner sees it, which does what a test says. */

import { randomUUID } from 'node:crypto'
import type { AgentSide, Fleet } from '../../../src/fleet/fleet.ts'
import type { RunningWork } from '../../../src/fleet/messages/beat.ts'
import type { AgentEvent, EndedEvent } from '../../../src/fleet/messages/events.ts'
import type { AgentGuest, AgentJob } from '../../../src/fleet/messages/inventory.ts'
import type { Work } from '../../../src/fleet/messages/work.ts'

export interface HostOfTest {
  guests: string[]
  jobs?: PartsOfJob[]
  labels?: string[]
  parallel?: number
  /** What the host remembers of each guest. */
  lastGood?: string
  clock?: () => number
}

export class AgentOfTest {
  readonly host: string
  readonly #side: AgentSide
  readonly #clock: () => number
  options: HostOfTest
  incarnation: string = randomUUID()
  running: RunningWork[] = []

  constructor(fleet: Fleet, host: string, options: HostOfTest) {
    this.#side = fleet.agents
    this.host = host
    this.options = options
    this.#clock = options.clock ?? (() => Date.now())
  }

  /** The same agent, which found another planner at the same address. */
  of(fleet: Fleet): AgentOfTest {
    const agent = new AgentOfTest(fleet, this.host, this.options)
    agent.incarnation = this.incarnation
    agent.running = this.running
    return agent
  }

  /** As an agent begins. It has no archives to tell of. */
  async begin(): Promise<void> {
    await this.hello()
    await this.inventory()
    await this.beat()
    for (const work of await this.fetchOnly({ free: 0, wait: 0 })) if (work.kind === 'report') await this.end(work)
  }

  hello(protocol = 1) {
    const { labels = [], parallel = 2 } = this.options
    return this.#side.hello(this.host, {
      ...{ protocol, version: '1', labels, zone: 'UTC', parallel, clock: this.#clock(), incarnation: this.incarnation },
    })
  }

  inventory() {
    const jobs = (this.options.jobs ?? [{}]).map((parts) => job({ guests: this.options.guests, ...parts }))
    const guests = this.options.guests.map((name) =>
      guest(
        name,
        jobs.filter((one) => one.guests.includes(name)).map((one) => one.name),
        this.options.lastGood,
      ),
    )
    return this.#side.inventory(this.host, { at: new Date(this.#clock()).toISOString(), guests, jobs, warnings: [] })
  }

  beat() {
    return this.#side.beat(this.host, { incarnation: this.incarnation, clock: this.#clock(), running: this.running })
  }

  async work({ free = 2, wait = 5000, signal = new AbortController().signal } = {}): Promise<Work[]> {
    const works = await this.#side.work(this.host, { free, wait }, signal)
    for (const work of works) if (work.kind === 'run') this.running.push(running(work))
    return works
  }

  /** Begins nothing: as an agent whose reply was lost. */
  fetchOnly({ free = 2, wait = 5000 } = {}): Promise<Work[]> {
    return this.#side.work(this.host, { free, wait }, new AbortController().signal)
  }

  ended(work: Work, parts: Partial<EndedEvent> = {}): AgentEvent {
    if (work.kind !== 'run') {
      const at = new Date(this.#clock()).toISOString()
      return { id: randomUUID(), at, event: 'finished', work: work.id, outcome: 'done', text: '' }
    }
    this.running = this.running.filter(({ id }) => id !== work.id)
    return endedEvent({
      work: work.id,
      job: work.job,
      guest: work.guest,
      at: new Date(this.#clock()).toISOString(),
      started: new Date(this.#clock()).toISOString(),
      ...parts,
    })
  }

  tell(...events: unknown[]) {
    return this.#side.events(this.host, events as AgentEvent[])
  }

  async end(work: Work, parts: Partial<EndedEvent> = {}): Promise<void> {
    await this.tell(this.ended(work, parts))
  }
}

export function endedEvent(parts: Partial<EndedEvent>): EndedEvent {
  const now = new Date().toISOString()
  return {
    ...{ id: randomUUID(), at: now, event: 'ended', work: null, job: 'nightly', run: 'r1', guest: 'web', started: now },
    ...{ outcome: 'done', report: {} },
    ...parts,
  }
}

type PartsOfJob = Partial<Omit<AgentJob, 'places'>> & { places?: Omit<AgentJob['places'][number], 'keep'>[] }

export function job({
  places = [{ place: '/srv/backup', storage: null, parallel: null }],
  ...parts
}: PartsOfJob): AgentJob {
  return {
    ...{ name: 'nightly', central: false, description: null, schedule: [], next: [], window: null },
    ...{ places: places.map((place) => ({ ...place, keep: null })), guests: [], promise: null, problem: null },
    ...parts,
  }
}

export function guest(name: string, jobs: string[], lastGood: string | null = null): AgentGuest {
  return {
    ...{ name, source: `test::${name}`, identity: null, running: true, jobs, lastGood, size: 1 },
    ...{ seconds: null, stored: null },
  }
}

function running(work: Work & { kind: 'run' }): RunningWork {
  return {
    id: work.id,
    job: work.job,
    guest: work.guest,
    since: new Date().toISOString(),
    places: ['/srv/backup'],
    progress: null,
  }
}
