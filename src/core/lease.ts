/** A lease: a share of a budget's bytes, with or without its memory, and the stage that holds it. */

import { VmapipeError } from './errors.ts'

/** One that holds leases: a stage of a run. The figures are in bytes. */
export interface Holder {
  /** Its number within the run. */
  readonly index: number
  held: number
  mostHeld: number
  /** Begins to wait for bytes that others hold … */
  waitForMemory(): void
  /** … and has got them, or an error. */
  hasMemory(): void
}

/** What each holder has of one budget, by the holder's number. */
export type Ledger = number[]

/** A share of the budget, given back when the last user of its bytes releases it. */
export class Lease {
  readonly bytes: number
  #users = 1
  #holder: Holder | null = null
  #ledger: Ledger | null = null
  readonly #free: () => void

  constructor(bytes: number, free: () => void) {
    this.bytes = bytes
    this.#free = free
  }

  /** Adds users: the lease ends when each of them has released it. */
  retain(users = 1): this {
    this.#users += users
    return this
  }

  /** Throws STAGE if every user has released the lease before. */
  release(): void {
    if (--this.#users === 0) {
      this.#leave()
      this.#free()
    } else if (this.#users < 0) {
      throw new VmapipeError('STAGE', `a lease of ${this.bytes} bytes was released twice`)
    }
  }

  /** Enters the lease in the ledger of its budget. */
  enter(holder: Holder, ledger: Ledger): this {
    this.#ledger = ledger
    this.#holder = holder
    this.#join(holder, ledger)
    return this
  }

  /** Notes that another stage has its bytes now. A lease that is in no ledger has no holder. */
  moveTo(holder: Holder): void {
    if (holder === this.#holder || this.#ledger === null || this.#users <= 0) return
    this.#leave()
    this.#holder = holder
    this.#join(holder, this.#ledger)
  }

  #join(holder: Holder, ledger: Ledger): void {
    holder.held += this.bytes
    if (holder.held > holder.mostHeld) holder.mostHeld = holder.held
    ledger[holder.index] = (ledger[holder.index] ?? 0) + this.bytes
  }

  #leave(): void {
    if (this.#holder === null || this.#ledger === null) return
    this.#holder.held -= this.bytes
    this.#ledger[this.#holder.index] -= this.bytes
  }
}

/** A lease with its memory. The buffer still has its old content. */
export class Slab extends Lease {
  readonly buffer: Buffer

  constructor(buffer: Buffer, bytes: number, free: () => void) {
    super(bytes, free)
    this.buffer = buffer
  }
}
