/**
 * Makes durable what was decided in memory. Changes gather while a transaction is under way, and the next one writes all of them: thousands of
 * works a minute cost few transactions. What could not be written, because the database is away, stays and is written when it is back. Each
 * write may be done twice, as nobody knows whether a transaction was committed whose connection broke.
 */

import { asVmapipeError } from '../../core/errors.ts'
import type { Session } from '../store/database.ts'
import { type StoredGuest, writeGuests } from '../store/guests.ts'
import { type StoredWork, writeWorks } from '../store/works.ts'

/** Other writes of one transaction, so that of thousands the first are there soon. */
const MOST_WRITES = 100

interface Write {
  /** Its number among all changes. */
  at: number
  write: (session: Session) => Promise<void>
  /** Called when it is durable. */
  after: (() => void) | undefined
}

export class Ledger {
  readonly #transaction: <T>(body: (session: Session) => Promise<T>) => Promise<T>
  readonly #warn: (line: string) => void
  #works = new Set<StoredWork>()
  #guests = new Set<StoredGuest>()
  #writes: Write[] = []
  #flushing: Promise<void> | null = null
  /** Changes that were told, and how many of them are durable. */
  #told = 0
  #durable = 0

  constructor(transaction: <T>(body: (session: Session) => Promise<T>) => Promise<T>, warn: (line: string) => void) {
    this.#transaction = transaction
    this.#warn = warn
  }

  get isClean(): boolean {
    return this.#works.size === 0 && this.#guests.size === 0 && this.#writes.length === 0
  }

  /** This work has changed; it is written as it is when its turn comes. */
  work(work: StoredWork): void {
    this.#told += 1
    this.#works.add(work)
  }

  guest(guest: StoredGuest): void {
    this.#told += 1
    this.#guests.add(guest)
  }

  /** Another write; they are done in their order. */
  write(write: Write['write'], after?: () => void): void {
    this.#told += 1
    this.#writes.push({ at: this.#told, write, after })
  }

  /** Resolves when all that was told so far is durable. Rejects if the database is away; it is then written later. */
  async flush(): Promise<void> {
    const goal = this.#told
    while (this.#durable < goal) {
      if (this.#flushing === null) {
        this.#flushing = this.#once().finally(() => {
          this.#flushing = null
        })
        await this.#flushing
      } else {
        // What is under way may have begun before the last change. If it fails, the next one says so.
        await this.#flushing.catch(() => {})
      }
    }
  }

  /** Forgets what was not written: another planner has taken over, and what it has written counts. */
  clear(): void {
    this.#works.clear()
    this.#guests.clear()
    this.#writes = []
    this.#durable = this.#told
  }

  async #once(): Promise<void> {
    const works = [...this.#works]
    const guests = [...this.#guests]
    const writes = this.#writes.splice(0, MOST_WRITES)
    const upTo = this.#writes.length > 0 ? this.#writes[0].at - 1 : this.#told
    this.#works = new Set()
    this.#guests = new Set()
    const commit = (body: (session: Session) => Promise<void>) => this.#transaction(body)
    try {
      await commit(async (session) => {
        await writeWorks(session, works)
        await writeGuests(session, guests)
        for (const { write } of writes) await write(session)
      })
      this.#durable = Math.max(this.#durable, upTo)
      for (const { after } of writes) after?.()
    } catch (error) {
      if (isOver(error) || works.length + guests.length + writes.length === 1) {
        if (isOver(error)) this.#putBack(works, guests, writes)
        else {
          this.#durable = Math.max(this.#durable, upTo)
          this.#warn(`a change could not be written to the database: ${asVmapipeError(error).message}`)
        }
        throw error
      }
      // One of them is wrong. It must not keep the others from being written.
      const lone = [
        ...works.map((work) => ({ write: (session: Session) => writeWorks(session, [work]), after: undefined, at: 0 })),
        ...guests.map((guest) => ({
          write: (session: Session) => writeGuests(session, [guest]),
          after: undefined,
          at: 0,
        })),
        ...writes,
      ]
      for (const [at, { write, after }] of lone.entries()) {
        try {
          await commit(write)
          after?.()
        } catch (wrong) {
          if (isOver(wrong)) {
            this.#writes.unshift(...lone.slice(at))
            throw wrong
          }
          this.#warn(`a change could not be written to the database: ${asVmapipeError(wrong).message}`)
        }
      }
      this.#durable = Math.max(this.#durable, upTo)
    }
  }

  #putBack(works: StoredWork[], guests: StoredGuest[], writes: Write[]): void {
    this.#works = new Set([...works, ...this.#works])
    this.#guests = new Set([...guests, ...this.#guests])
    this.#writes.unshift(...writes)
  }
}

/** The database is away, or this planner's turn is over: nothing is wrong with what was to be written. */
function isOver(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string }
  return code === 'FAILED' && (message === 'the database is away' || message === 'another planner has taken over')
}
