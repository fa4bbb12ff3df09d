/** A host of the benchmark: it speaks to the planner as an agent does, and its backups are made up. */

import { randomUUID } from 'node:crypto'
import type { Beat, BeatReply, RunningWork } from '../../src/fleet/messages/beat.ts'
import type { AgentEvent } from '../../src/fleet/messages/events.ts'
import type { Inventory } from '../../src/fleet/messages/inventory.ts'
import type { Work } from '../../src/fleet/messages/work.ts'
import { call } from './call.ts'
import { type MadeUpGuest, madeUpArchives, madeUpInventory, madeUpProgress, madeUpReport } from './made-up.ts'

const WAIT_MS = 55_000
const BEAT_MS = 5_000
/** While somebody looks. */
const CLOSER_MS = 1_000
const INVENTORY_MS = 600_000

export interface HostOptions {
  url: string
  host: string
  token: string
  storage: string
  parallel: number
  guests: MadeUpGuest[]
  /** Called when a backup was received. */
  received: (host: MadeUpHost, work: RunWork) => void
  failed: (what: string) => void
}

export type RunWork = Extract<Work, { kind: 'run' }>

export class MadeUpHost {
  readonly options: HostOptions
  readonly #incarnation = randomUUID()
  readonly running = new Map<string, { work: RunWork; began: number }>()
  #next: string[] = []
  #poll: AbortController | null = null
  #isOver = false

  constructor(options: HostOptions) {
    this.options = options
  }

  get free(): number {
    return this.options.parallel - this.running.size
  }

  async begin(): Promise<void> {
    const { parallel } = this.options
    const about = { labels: ['rack-1'], zone: 'UTC', parallel, clock: Date.now(), incarnation: this.#incarnation }
    await this.#post('hello', { protocol: 1, version: '0.0.0', ...about })
    await this.inventory([])
    await this.#beat()
    void this.#work()
    const later = (ms: number, action: () => Promise<number>) =>
      setTimeout(async () => {
        const again = await action().catch((error) => (this.options.failed(String(error)), ms))
        if (!this.#isOver) later(again, action)
      }, ms)
    // Hosts do not beat all at once.
    later(Math.random() * BEAT_MS, async () => ((await this.#beat()).closer ? CLOSER_MS : BEAT_MS))
    later(Math.random() * INVENTORY_MS, async () => (await this.inventory(this.#next), INVENTORY_MS))
  }

  /** `next`: when its job is due. */
  async inventory(next: string[]): Promise<void> {
    this.#next = next
    const said: Inventory = madeUpInventory(this.options, next)
    await this.#post('inventory', said)
  }

  /** A backup has ended: the slots that it had are free. */
  async end(id: string): Promise<void> {
    const { work, began } = this.running.get(id)!
    const seconds = (Date.now() - began) / 1000
    const [at, started] = [new Date().toISOString(), new Date(began).toISOString()]
    const { guest, job, due } = work
    const events: AgentEvent[] = [
      {
        ...{ id: randomUUID(), at, event: 'ended', work: id, job, run: `${job}@${due}`, guest, started },
        ...{ outcome: 'done', report: madeUpReport(guest, seconds) },
      },
      {
        ...{ id: randomUUID(), at, event: 'archives', job, place: placeOf(this.options), guest },
        archives: madeUpArchives(this.options, guest),
      },
    ]
    await this.#post('events', { events })
    const wasFull = this.free === 0
    this.running.delete(id)
    if (wasFull) this.#poll?.abort()
  }

  stop(): void {
    this.#isOver = true
    this.#poll?.abort()
  }

  #isWatched = false

  async #beat(): Promise<BeatReply> {
    const running: RunningWork[] = [...this.running.values()].map(({ work: { id, job, guest }, began }) => ({
      ...{ id, job, guest, since: new Date(began).toISOString(), places: [placeOf(this.options)] },
      progress: this.#isWatched ? madeUpProgress((Date.now() - began) / 1000) : null,
    }))
    const said: Beat = { incarnation: this.#incarnation, clock: Date.now(), running }
    const reply = (await this.#post('beat', said)) as BeatReply
    this.#isWatched = reply.closer
    return reply
  }

  async #work(): Promise<void> {
    while (!this.#isOver) {
      this.#poll = new AbortController()
      try {
        const reply = await this.#post('work', { free: this.free, wait: WAIT_MS }, this.#poll.signal)
        for (const work of (reply as { works: Work[] }).works) {
          if (work.kind !== 'run') continue
          this.running.set(work.id, { work, began: Date.now() })
          this.options.received(this, work)
        }
      } catch (error) {
        if (!this.#poll.signal.aborted) this.options.failed(String(error))
      }
    }
  }

  async #post(what: string, body: unknown, signal?: AbortSignal): Promise<unknown> {
    const { url, token } = this.options
    const headers = { authorization: `Bearer ${token}` }
    const { status, text } = await call(`${url}/agent/v1/${what}`, { headers, body, signal })
    if (status !== 200) throw new Error(`${what} was answered with ${status}: ${text}`)
    return JSON.parse(text)
  }
}

export function placeOf({ storage }: Pick<HostOptions, 'storage'>): string {
  return `/srv/${storage}`
}
