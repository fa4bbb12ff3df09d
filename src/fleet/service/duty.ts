/**
 * One planner is on duty: the one that has the lock of the database. If its connection breaks, another may take over. It asks for the lock
 * again; if it gets it and nobody was on duty meanwhile, what it knows is right still. Otherwise it reads everything anew.
 */

import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { sleepUntilAborted } from '../../core/long-sleep.ts'
import type { Database, Lock } from '../store/database.ts'
import type { Turn } from '../store/turn.ts'

const FIRST_PAUSE_MS = 250
const LAST_PAUSE_MS = 5_000

export class Duty {
  readonly #database: Database
  readonly #inform: (line: string) => void
  readonly #closed = new AbortController()
  #turn: Turn | null = null
  #reload: (() => Promise<void>) | null = null
  #lock: Lock | null = null
  #taking: Promise<void> | null = null
  /** Why nothing is answered; null if this planner is on duty, or was, and nobody else is known to be. */
  #standby: string | null = null

  constructor(database: Database, inform: (line: string) => void) {
    this.#database = database
    this.#inform = inform
  }

  /** Waits for the lock. */
  async wait(signal: AbortSignal | undefined): Promise<void> {
    await this.#get(signal ?? this.#closed.signal)
  }

  /** From here on the lock is asked for again if it is lost. */
  async begin(turn: Turn, reload: () => Promise<void>): Promise<void> {
    this.#turn = turn
    await turn.take()
    await reload()
    this.#reload = reload
    this.#standby = null
    if (this.#lock === null) this.#takeAgain()
  }

  /** Throws FAILED if another planner is on duty. */
  check(): void {
    if (this.#standby !== null) throw new VmapipeError('FAILED', this.#standby)
  }

  get isOn(): boolean {
    return this.#standby === null
  }

  async close(): Promise<void> {
    this.#closed.abort()
    await this.#taking?.catch(() => {})
    await this.#lock?.release()
  }

  async #get(signal: AbortSignal): Promise<void> {
    const either = AbortSignal.any([signal, this.#closed.signal])
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(LAST_PAUSE_MS, pause * 2)) {
      try {
        this.#lock = await this.#database.lock({
          signal: either,
          waits: () => {
            this.#standby = 'another planner is on duty'
            this.#inform('another planner uses this database; this one waits, and takes over when that one ends')
          },
          lost: () => {
            this.#lock = null
            this.#takeAgain()
          },
        })
        return
      } catch (error) {
        if (either.aborted || asVmapipeError(error).message !== 'the database is away') throw error
        await sleepUntilAborted(pause, either)
      }
    }
  }

  #takeAgain(): void {
    if (this.#reload === null || this.#closed.signal.aborted) return
    this.#taking ??= this.#again()
      .catch(() => {})
      .finally(() => {
        this.#taking = null
        // It was lost again before this had ended.
        if (this.#lock === null) this.#takeAgain()
      })
  }

  async #again(): Promise<void> {
    await this.#get(this.#closed.signal)
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(LAST_PAUSE_MS, pause * 2)) {
      try {
        const wasAnothers = (await this.#turn!.take()) || this.#standby !== null
        if (wasAnothers) {
          await this.#reload!()
          this.#inform('this planner is on duty again')
        }
        this.#standby = null
        return
      } catch {
        // Away again. If the lock is lost too, the next one to have it goes on.
        if (this.#lock === null) return
        // What another planner did is still to be read.
        this.#standby ??= 'the database is away'
        await sleepUntilAborted(pause, this.#closed.signal)
      }
    }
  }
}
