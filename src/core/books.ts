/** The accounts of a budget: which bytes are on lease, which stages hold them, and which requests wait. */

import type { Holder, Ledger } from './lease.ts'

/** How memory is taken from a budget. */
export interface TakeOptions {
  /** Served before all requests that are not urgent. It is for copies that a guest's write waits for. */
  urgent?: boolean
}

interface Waiter {
  bytes: number
  grant: () => void
  refuse: (error: Error) => void
}

export class Books {
  readonly #total: number
  /** Bytes on lease for each holder. */
  readonly ledger: Ledger = []
  /** Bytes on lease, and the most that ever were. */
  used = 0
  highWater = 0
  /** Bytes that were given to parts. */
  carved = 0
  /** The number of leases given back so far. */
  returned = 0
  /** When an urgent request first had to wait, in seconds since the epoch. */
  fullSince: number | null = null
  closed: Error | null = null
  readonly #urgent: Waiter[] = []
  readonly #waiting: Waiter[] = []

  constructor(total: number) {
    this.#total = total
  }

  get capacity(): number {
    return this.#total - this.carved
  }

  get waiting(): number {
    return this.#urgent.length + this.#waiting.length
  }

  /** Admits so many bytes if there is room and no earlier request waits. */
  tryAdmit(bytes: number, { urgent = false }: TakeOptions = {}): boolean {
    const before = urgent ? this.#urgent.length : this.waiting
    if (this.closed || before > 0 || this.used + bytes > this.capacity) return false
    this.account(bytes)
    return true
  }

  /** Resolves when so many bytes are admitted, and rejects with the error of `close`. */
  wait(bytes: number, { urgent = false }: TakeOptions = {}, holder: Holder | null = null): Promise<void> {
    if (urgent) this.fullSince ??= Date.now() / 1000
    const admitted = new Promise<void>((grant, refuse) => {
      const queue = urgent ? this.#urgent : this.#waiting
      queue.push({ bytes, grant, refuse })
    })
    // A stage that holds most of the bytes itself does not wait for others: its own work gives them back.
    if (holder === null || (this.ledger[holder.index] ?? 0) * 2 >= this.used) return admitted
    holder.waitForMemory()
    return admitted.finally(() => holder.hasMemory())
  }

  account(bytes: number): void {
    this.used += bytes
    if (this.used > this.highWater) this.highWater = this.used
  }

  giveBack(bytes: number): void {
    this.used -= bytes
    this.returned++
    this.#serve(this.#urgent)
    if (this.#urgent.length === 0) this.#serve(this.#waiting)
  }

  /** Refuses all requests, also those that wait. */
  close(error: Error): void {
    this.closed ??= error
    for (const waiter of [...this.#urgent.splice(0), ...this.#waiting.splice(0)]) waiter.refuse(error)
  }

  #serve(queue: Waiter[]): void {
    while (queue.length > 0 && this.used + queue[0].bytes <= this.capacity) {
      const waiter = queue.shift()!
      this.account(waiter.bytes)
      waiter.grant()
    }
  }
}
