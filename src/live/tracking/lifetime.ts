/**
 * Keeps a record of until when the marks hold: the service has not written to the drive later. After a crash this tells whether
 * something else has. While the guest writes, the record is renewed in the background: in the file every 100 ms, which survives a
 * kill, and durably every five seconds, which survives a power failure. An idle guest renews nothing.
 */

import type { Until } from './track-file.ts'

/** Milliseconds. Short, so that a program that starts after a kill and writes to the image is noticed. */
const KILLED_FOR = 250
const RENEW_EVERY = 100
/** Milliseconds. A guest's write may wait so long if the folder of the marks is dead (ChangeTracker). */
const FAILED_FOR = 10_000

export class Lifetime {
  readonly #write: (until: Until, durably: boolean) => Promise<void>
  readonly #failed: (error: unknown) => void
  #isActive = false
  #timer: NodeJS.Timeout | null = null
  #isWriting = false
  #isOver = false
  #until: Until = { killed: 0, failed: 0 }

  constructor(write: (until: Until, durably: boolean) => Promise<void>, failed: (error: unknown) => void) {
    this.#write = write
    this.#failed = failed
  }

  /** A write to the drive is being carried out. */
  extend(): void {
    this.#isActive = true
    if (this.#timer === null && !this.#isWriting && !this.#isOver) void this.#renew()
  }

  /** Marks are made again, after `end`. */
  begin(): void {
    this.#isOver = false
  }

  /** Renews nothing any more. Gives until when the record may hold, in milliseconds since the epoch. */
  end(): number {
    this.#isOver = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    return Math.max(this.#until.killed, this.#until.failed)
  }

  async #renew(): Promise<void> {
    this.#timer = null
    this.#isActive = false
    const now = Date.now()
    const durably = now + FAILED_FOR / 2 > this.#until.failed || this.#until.failed > now + 2 * FAILED_FOR
    this.#until = { killed: now + KILLED_FOR, failed: durably ? now + FAILED_FOR : this.#until.failed }
    this.#isWriting = true
    try {
      await this.#write(this.#until, durably)
    } catch (error) {
      if (!this.#isOver) this.#failed(error)
      return
    } finally {
      this.#isWriting = false
    }
    if (this.#isOver) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      if (this.#isActive) void this.#renew()
    }, RENEW_EVERY)
    this.#timer.unref()
  }
}
