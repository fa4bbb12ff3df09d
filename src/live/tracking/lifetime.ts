/**
 * Keeps a record of until when the marks hold: the service has not written to the drive later. After a crash this tells whether
 * something else has. While the guest writes, the record is renewed in the background: in the file every 100 ms, which survives a
 * kill, and durably every five seconds, which survives a power failure. An idle guest renews nothing, so the first write to a region
 * waits until the record holds again.
 */

import type { Until } from './track-file.ts'

/** Milliseconds. Short, so that a program that starts after a kill and writes to the image is noticed. */
const KILLED_FOR = 250
const RENEW_EVERY = 100
/** Milliseconds. A guest's write may wait so long if the folder of the marks is dead (ChangeTracker). */
const FAILED_FOR = 10_000

export class Lifetime {
  readonly #write: (until: Until) => Promise<void>
  readonly #sync: () => Promise<void>
  readonly #failed: (error: unknown) => void
  #isActive = false
  #timer: NodeJS.Timeout | null = null
  #renewing: Promise<void> | null = null
  /** The part of it that a kill does not undo. */
  #writing: Promise<void> | null = null
  #isOver = false
  #until: Until = { killed: 0, failed: 0 }

  constructor(write: (until: Until) => Promise<void>, sync: () => Promise<void>, failed: (error: unknown) => void) {
    this.#write = write
    this.#sync = sync
    this.#failed = failed
  }

  /** A write to the drive is being carried out. */
  extend(): void {
    this.#isActive = true
    if (this.#timer === null && this.#renewing === null && !this.#isOver) this.#renew()
  }

  /** The same, and resolves when the record says that the marks hold now. Errors: those of writing it. */
  async hold(): Promise<void> {
    this.extend()
    await this.#writing
    // It may have run out while it was made durable, or while nothing ran here.
    while (!this.#isOver && Date.now() >= this.#until.killed) {
      await this.#renewing
      if (this.#renewing === null) this.#renew()
      await this.#writing
    }
  }

  /** Marks are made again, after `end`. */
  begin(): void {
    this.#isOver = false
  }

  /** Renews nothing any more. Gives until when the record may hold, in milliseconds since the epoch. */
  end(): number {
    this.#isOver = true
    this.#clearTimer()
    return Math.max(this.#until.killed, this.#until.failed)
  }

  #renew(): void {
    this.#clearTimer()
    this.#isActive = false
    this.#renewing = this.#writeNext().finally(() => {
      this.#renewing = null
    })
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  async #writeNext(): Promise<void> {
    const now = Date.now()
    const durably = now + FAILED_FOR / 2 > this.#until.failed || this.#until.failed > now + 2 * FAILED_FOR
    this.#until = { killed: now + KILLED_FOR, failed: durably ? now + FAILED_FOR : this.#until.failed }
    try {
      this.#writing = this.#write(this.#until)
      await this.#writing
      if (durably) await this.#sync()
    } catch (error) {
      if (!this.#isOver) this.#failed(error)
      return
    }
    if (this.#isOver) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      if (this.#isActive) this.#renew()
    }, RENEW_EVERY)
    this.#timer.unref()
  }
}
