/**
 * What has changed in the house, for all who look at it live. Only the newest state is kept, with a number for each part that tells when it
 * last changed. A reader asks for what is newer than its last number, so a slow one misses states in between and never has a queue. The house
 * is looked at only while there is a reader.
 */

import { randomBytes } from 'node:crypto'
import type { ChangedEvent, NowEvent } from '../api.ts'
import type { House, NowView } from '../house.ts'

/** Milliseconds between two looks at what runs. */
const LOOK_MS = 500
/** A comment is sent after so long without a change: it keeps the connection open, and finds out that it is cut. */
const BEAT_MS = 15_000

/** After a look that failed. */
const AGAIN_MS = 5000

type Topic = ChangedEvent['what'][number]
const TOPICS: readonly Topic[] = ['guests', 'archives', 'jobs', 'hosts']

interface Part {
  json: string
  /** The number of its last change. */
  changed: number
}

export interface Reader {
  /** The next piece of the stream: what has changed since the last one. Null at the end. */
  next(): Promise<string | null>
  close(): void
}

export interface ChangesOptions {
  lookMs?: number
  beatMs?: number
  /** Told if the house cannot be looked at. */
  warn?: (error: unknown) => void
}

export class Changes {
  readonly #house: House
  readonly #options: Required<ChangesOptions>
  /** Numbers of another process mean nothing here. */
  readonly #epoch = randomBytes(6).toString('hex')
  #number = 0
  #at = ''
  #view: NowView | null = null
  readonly #rows = new Map<string, Part>()
  #order: Part = { json: '', changed: 0 }
  #tasks: Part = { json: '', changed: 0 }
  #problems: Part = { json: '', changed: 0 }
  readonly #topics = new Map<Topic, number>()
  readonly #readers = new Set<{ wake: () => void; close: () => void }>()
  #unwatch: (() => void) | null = null
  #timer: NodeJS.Timeout | null = null
  #lookedAt = Number.NEGATIVE_INFINITY
  #looking: Promise<void> | null = null
  #isStale = false
  #isClosed = false

  constructor(house: House, { lookMs = LOOK_MS, beatMs = BEAT_MS, warn = () => {} }: ChangesOptions = {}) {
    this.#house = house
    this.#options = { lookMs, beatMs, warn }
  }

  get readers(): number {
    return this.#readers.size
  }

  /** `last`: the id of the last event that the browser has; it gets all if that is not of this process. */
  open(last: string | undefined): Reader {
    const [, epoch, number] = /^([0-9a-f]+)\.(\d{1,15})$/.exec(last ?? '') ?? []
    let since = epoch === this.#epoch ? Number(number) : -1
    let isOpen = !this.#isClosed
    let isFirst = true
    let wake = () => {}
    const entry = {
      wake: () => wake(),
      close: () => {
        isOpen = false
        this.#readers.delete(entry)
        this.#sleepIfAlone()
        wake()
      },
    }
    if (isOpen) this.#readers.add(entry)
    const begun = isOpen ? this.#begin() : Promise.resolve()
    const waitForNews = () =>
      new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(false), this.#options.beatMs)
        wake = () => {
          clearTimeout(timer)
          resolve(true)
        }
      })
    return {
      next: async () => {
        await begun
        while (isOpen) {
          if (isFirst || this.#number > since) {
            const text = (isFirst ? 'retry: 2000\n\n' : '') + this.#textSince(since)
            isFirst = false
            since = this.#number
            return text
          }
          if (!(await waitForNews()) && isOpen) return ': beat\n\n'
        }
        return null
      },
      close: entry.close,
    }
  }

  close(): void {
    this.#isClosed = true
    for (const reader of [...this.#readers]) reader.close()
  }

  /** The first reader makes the house be watched. Resolves when there is a state that is not old. */
  async #begin(): Promise<void> {
    if (this.#unwatch === null) {
      // Nobody knows what has changed while nobody watched.
      this.#number++
      for (const topic of TOPICS) this.#topics.set(topic, this.#number)
      this.#unwatch = this.#house.watch((what) => this.#changed(what))
      await this.#look()
    } else if (this.#view === null) await this.#look()
  }

  #sleepIfAlone(): void {
    if (this.#readers.size > 0) return
    this.#unwatch?.()
    this.#unwatch = null
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #changed(what: Topic | 'now'): void {
    if (what === 'now') this.#lookSoon()
    else {
      this.#topics.set(what, ++this.#number)
      this.#wakeAll()
    }
  }

  #lookSoon(least = 0): void {
    if (this.#timer !== null) return
    const wait = Math.max(least, this.#lookedAt + this.#options.lookMs - performance.now())
    this.#timer = setTimeout(() => {
      this.#timer = null
      void this.#look()
    }, wait)
  }

  /** One look at a time. What changes during it is looked at afterwards. */
  #look(): Promise<void> {
    if (this.#looking !== null) {
      this.#isStale = true
      return this.#looking
    }
    this.#lookedAt = performance.now()
    this.#looking = this.#house
      .now()
      .then(
        (view) => this.#take(view),
        (error) => {
          this.#options.warn(error)
          // The house may not tell when it can be looked at again.
          if (this.#unwatch !== null) this.#lookSoon(AGAIN_MS)
        },
      )
      .finally(() => {
        this.#looking = null
        if (this.#isStale && this.#unwatch !== null) this.#lookSoon()
        this.#isStale = false
      })
    return this.#looking
  }

  #take(view: NowView): void {
    const next = this.#number + 1
    let isNew = false
    const update = (part: Part, value: unknown): void => {
      const json = JSON.stringify(value)
      if (json === part.json) return
      part.json = json
      part.changed = next
      isNew = true
    }
    for (const row of view.rows) {
      const part = this.#rows.get(row.id) ?? { json: '', changed: 0 }
      update(part, row)
      this.#rows.set(row.id, part)
    }
    const ids = view.rows.map(({ id }) => id)
    const known = new Set(ids)
    for (const id of this.#rows.keys()) if (!known.has(id)) this.#rows.delete(id)
    update(this.#order, ids)
    update(this.#tasks, view.tasks)
    update(this.#problems, view.problems)
    this.#view = view
    this.#at = view.at
    if (!isNew) return
    this.#number = next
    this.#wakeAll()
  }

  #wakeAll(): void {
    for (const { wake } of this.#readers) wake()
  }

  /** What is newer than this number, as events. Each has the newest number, as all of them are written at once. */
  #textSince(since: number): string {
    const id = `id: ${this.#epoch}.${this.#number}\n`
    const isWhole = since < 0
    const rows = [...this.#rows.values()].filter(({ changed }) => isWhole || changed > since)
    const isNewer = ({ changed }: Part) => isWhole || changed > since
    const parts = [this.#order, this.#tasks, this.#problems].some(isNewer)
    const events: string[] = []
    const topics = TOPICS.filter((topic) => (this.#topics.get(topic) ?? 0) > since)
    if (topics.length > 0) {
      const changed: ChangedEvent = { what: topics }
      events.push(`${id}event: changed\ndata: ${JSON.stringify(changed)}\n\n`)
    }
    if (this.#view !== null && (rows.length > 0 || parts)) {
      // The parts are JSON already.
      const fields: Record<keyof NowEvent, string | null> = {
        at: JSON.stringify(this.#at),
        whole: String(isWhole),
        order: this.#order.json,
        rows: `[${rows.map(({ json }) => json).join(',')}]`,
        tasks: isNewer(this.#tasks) ? this.#tasks.json : null,
        problems: isNewer(this.#problems) ? this.#problems.json : null,
      }
      const texts = Object.entries(fields).flatMap(([name, json]) => (json === null ? [] : [`"${name}":${json}`]))
      events.push(`${id}event: now\ndata: {${texts.join(',')}}\n\n`)
    }
    // Something is always sent, so that the browser knows that it is connected.
    return events.join('') || ': nothing has changed\n\n'
  }
}
