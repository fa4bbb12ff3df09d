/**
 * The order in which guests are backed up. As many run at once as there are slots. Next is the guest whose disks do the least, and of
 * those the one that has been without a backup the longest. A guest that fails is tried again later, while others go on.
 */

import type { Clock } from '../clock.ts'
import type { Held } from './slots.ts'

interface Queued {
  /** Not before this time, in milliseconds since 1970. */
  notBefore: number
}

interface QueueOptions<Guest extends Queued> {
  guests: readonly Guest[]
  /** How many run at once at most. */
  parallel: number
  clock: Clock
  signal: AbortSignal
  /** When it was last backed up. */
  since(guest: Guest): number
  /** The disks that its images are on. */
  disks(guest: Guest): readonly string[]
  /** Takes what its backup needs; or tells what others have all of. */
  take(guest: Guest): Promise<Held | { full: string }>
  /** Never rejects. True if the guest is to be tried again. */
  work(guest: Guest, held: Held): Promise<boolean>
}

/** Milliseconds after which it is tried again to take what another run has. */
const BUSY_MS = 1000

export class Queue<Guest extends Queued> {
  readonly #options: QueueOptions<Guest>
  readonly #running = new Map<Guest, Promise<void>>()
  #waiting: Guest[]
  #resolve: () => void = () => {}
  /** Something has happened since the last look at all guests. */
  #isWoken = false
  #isClosed = false

  constructor(options: QueueOptions<Guest>) {
    this.#options = options
    this.#waiting = options.guests.toSorted((a, b) => options.since(a) - options.since(b))
  }

  get running(): Iterable<Guest> {
    return this.#running.keys()
  }

  /** Begins no more guests: those that wait are given to `left`. */
  close(left: (guest: Guest) => Promise<void>): void {
    this.#isClosed = true
    for (const guest of this.#waiting.splice(0)) void left(guest)
    this.#leftBehind = left
    this.#wake()
  }

  #leftBehind: (guest: Guest) => Promise<void> = async () => {}

  /** Resolves when all guests have ended. Errors: ABORTED, after those that run have ended. */
  async run(): Promise<void> {
    const { signal } = this.#options
    const wake = () => this.#wake()
    signal.addEventListener('abort', wake)
    try {
      while (this.#waiting.length > 0 || this.#running.size > 0) {
        if (signal.aborted) await Promise.all(this.#running.values())
        signal.throwIfAborted()
        this.#isWoken = false
        const isBusy = await this.#begin()
        if (signal.aborted) continue
        await this.#next(isBusy)
      }
      signal.throwIfAborted()
    } finally {
      signal.removeEventListener('abort', wake)
    }
  }

  /** Begins all guests that can be begun now. True if one of them waits for what another run has. */
  async #begin(): Promise<boolean> {
    const { parallel, clock, take, signal } = this.#options
    let isBusy = false
    for (const guest of this.#inOrder()) {
      if (this.#isClosed || signal.aborted || this.#running.size >= parallel) break
      if (guest.notBefore > clock.now() || !this.#waiting.includes(guest)) continue
      const held = await take(guest)
      if ('full' in held) {
        isBusy = true
        // No other guest gets a slot of the host either.
        if (held.full === 'host') break
        continue
      }
      if (this.#isClosed || signal.aborted) {
        await held.release()
        break
      }
      this.#start(guest, held)
      return (await this.#begin()) || isBusy
    }
    return isBusy
  }

  #start(guest: Guest, held: Held): void {
    this.#waiting = this.#waiting.filter((other) => other !== guest)
    const work = this.#options.work(guest, held).then(async (again) => {
      this.#running.delete(guest)
      if (again && this.#isClosed) await this.#leftBehind(guest)
      else if (again) this.#waiting.push(guest)
      this.#wake()
    })
    this.#running.set(guest, work)
  }

  /** The guests that wait, the next one first. */
  #inOrder(): Guest[] {
    const { disks } = this.#options
    const load = new Map<string, number>()
    for (const guest of this.#running.keys()) for (const disk of disks(guest)) load.set(disk, (load.get(disk) ?? 0) + 1)
    const loadOf = (guest: Guest) => Math.max(0, ...disks(guest).map((disk) => load.get(disk) ?? 0))
    return this.#waiting.toSorted((a, b) => loadOf(a) - loadOf(b))
  }

  #wake(): void {
    this.#isWoken = true
    this.#resolve()
  }

  /** Waits until a guest has ended, one is due to be tried again, or another run may have given back what is needed. */
  async #next(isBusy: boolean): Promise<void> {
    const { clock, parallel } = this.#options
    const now = clock.now()
    const due = this.#waiting.filter(({ notBefore }) => notBefore > now).map(({ notBefore }) => notBefore - now)
    const wait = Math.min(...due, isBusy && this.#running.size < parallel ? BUSY_MS : Number.POSITIVE_INFINITY)
    const woken = new AbortController()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#resolve = resolve
    if (this.#isWoken) return
    if (wait === Number.POSITIVE_INFINITY && this.#running.size === 0) return
    if (wait !== Number.POSITIVE_INFINITY) clock.sleep(wait, woken.signal).then(resolve, () => {})
    await promise
    woken.abort()
  }
}
