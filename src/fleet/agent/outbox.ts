/**
 * What has happened and the planner has not taken yet: a file for each event. It outlasts a planner that is away for days, and a host that
 * restarts. If there is too much of it, lists of archives go first: the planner can ask for them again. A disk that is full loses nothing
 * while the agent runs: then events are in memory alone.
 */

import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from '../../core/errors.ts'
import { writeWhole } from '../../jobs/state/files.ts'
import { type AgentEvent, agentEvent } from '../messages/events.ts'

interface Kept {
  file: string
  event: AgentEvent
  /** Of its JSON. */
  bytes: number
  /** How often the planner has answered without taking it. */
  refused: number
}

interface OutboxOptions {
  /** Events that are kept at most, and their bytes. */
  most?: number
  mostBytes?: number
  warn: (text: string) => void
}

const MOST = 20_000
/** They are in memory too. */
const MOST_BYTES = 128 << 20
/** One event that the planner does not take so often is given up: it must not hold up the others forever. */
const MOST_REFUSED = 20

export class Outbox {
  readonly #folder: string
  readonly #most: number
  readonly #mostBytes: number
  readonly #warn: (text: string) => void
  readonly #kept = new Map<string, Kept>()
  #bytes = 0
  #dropped = 0
  #hasWarned = false
  #turn: Promise<void> = Promise.resolve()
  #wake: () => void = () => {}

  private constructor(folder: string, { most = MOST, mostBytes = MOST_BYTES, warn }: OutboxOptions) {
    this.#folder = folder
    this.#most = most
    this.#mostBytes = mostBytes
    this.#warn = warn
  }

  static async open(folder: string, options: OutboxOptions): Promise<Outbox> {
    const outbox = new Outbox(folder, options)
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch(() => {})
    for (const name of (await readdir(folder).catch(() => [])).sort()) {
      if (name.endsWith('.partial')) await rm(join(folder, name), { force: true }).catch(() => {})
      if (!name.endsWith('.json')) continue
      const read = await eventIn(join(folder, name))
      // It was damaged by what we do not know; archives tell what there is.
      if (read === null) await rm(join(folder, name), { force: true }).catch(() => {})
      else outbox.#put({ ...read, file: join(folder, name), refused: 0 })
      outbox.#makeRoom()
    }
    return outbox
  }

  get size(): number {
    return this.#kept.size
  }

  /** How many events had to go, for people. */
  get dropped(): number {
    return this.#dropped
  }

  /** Whether the planner has not yet heard how this work has ended. A backup that did not succeed is to be tried again, so it does not count. */
  hasEndOf(work: string): boolean {
    for (const { event } of this.#kept.values()) {
      if (event.event === 'archives' || event.work !== work) continue
      if (event.event === 'finished' || event.outcome === 'done') return true
    }
    return false
  }

  /** Whether the end of a backup by the host's own schedule waits to be told. */
  hasOwnEnd(): boolean {
    for (const { event } of this.#kept.values()) if (event.event === 'ended' && event.work === null) return true
    return false
  }

  /** Resolves when the event is on disk, or cannot be. One of the same id replaces it. */
  add(event: AgentEvent): Promise<void> {
    const name = `${String(Date.now()).padStart(15, '0')}-${randomBytes(4).toString('hex')}.json`
    const { file = join(this.#folder, name), refused = 0 } = this.#kept.get(event.id) ?? {}
    const text = JSON.stringify(event)
    this.#put({ file, event, bytes: Buffer.byteLength(text), refused })
    this.#makeRoom()
    this.#wake()
    return this.#inTurn(async () => {
      if (!this.#kept.has(event.id)) return
      try {
        await writeWhole(file, text)
        await syncFolder(this.#folder)
        this.#hasWarned = false
      } catch (error) {
        if (!this.#hasWarned) this.#warn(`events for the planner are in memory alone: ${describe(error as Error)}`)
        this.#hasWarned = true
      }
    })
  }

  /** The oldest ones, as many as fit into so many bytes; at least one. */
  first(most: number, mostBytes = Number.POSITIVE_INFINITY): AgentEvent[] {
    const events: AgentEvent[] = []
    let all = 0
    for (const { event, bytes } of this.#kept.values()) {
      all += bytes
      if (events.length >= most || (events.length > 0 && all > mostBytes)) break
      events.push(event)
    }
    return events
  }

  /** One of the same id keeps its turn. */
  #put(kept: Kept): void {
    this.#bytes += kept.bytes - (this.#kept.get(kept.event.id)?.bytes ?? 0)
    this.#kept.set(kept.event.id, kept)
  }

  /** The planner has answered to these, and has taken some. `isEarly`: it could not know all of them yet, so none counts as refused. */
  async answered(sent: readonly AgentEvent[], taken: readonly string[], isEarly = false): Promise<void> {
    const ids = new Set(taken)
    for (const { id } of sent) {
      const kept = this.#kept.get(id)
      if (kept === undefined) continue
      if (ids.has(id)) this.#remove(kept)
      else if (!isEarly && ++kept.refused >= MOST_REFUSED) {
        this.#remove(kept)
        this.#tellDropped(`the planner does not take an event of the kind '${kept.event.event}'`)
      } else {
        // The others come first.
        this.#kept.delete(id)
        this.#kept.set(id, kept)
      }
    }
    await this.#turn
  }

  /** Resolves when all that was added is on disk, as far as it can be. */
  async flushed(): Promise<void> {
    await this.#turn
  }

  /** Resolves when something was added. */
  async added(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake()
    this.#wake = resolve
    const end = () => resolve()
    signal.addEventListener('abort', end, { once: true })
    await promise
    signal.removeEventListener('abort', end)
  }

  #makeRoom(): void {
    while (this.#kept.size > this.#most || (this.#bytes > this.#mostBytes && this.#kept.size > 1)) {
      const all = [...this.#kept.values()]
      this.#remove(all.find(({ event }) => event.event === 'archives') ?? all[0])
      this.#tellDropped(`more than ${this.#most} events or ${this.#mostBytes >> 20} MiB wait for the planner`)
    }
  }

  #tellDropped(why: string): void {
    if (this.#dropped++ === 0)
      this.#warn(`${why}: the oldest are dropped; vmapipe fleet rescan asks for archives again`)
  }

  #remove({ file, event, bytes }: Kept): void {
    if (this.#kept.delete(event.id)) this.#bytes -= bytes
    void this.#inTurn(async () => rm(file, { force: true }).catch(() => {}))
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#turn = this.#turn.then(work)
    return this.#turn
  }
}

async function eventIn(path: string): Promise<Pick<Kept, 'event' | 'bytes'> | null> {
  try {
    const text = await readFile(path, 'utf8')
    return { event: agentEvent.parse(JSON.parse(text)), bytes: Buffer.byteLength(text) }
  } catch {
    return null
  }
}

/** The name of a file outlasts a power failure only if its folder is on disk. */
async function syncFolder(folder: string): Promise<void> {
  const file = await open(folder)
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
