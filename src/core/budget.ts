/**
 * Bounds the memory of a pipeline by one budget of bytes. A stage takes a lease before it holds data, and waits if the budget
 * is used up. That wait is the backpressure on the scan and on a guest's write.
 *
 * Leases are reference-counted, because views of one buffer may travel in several items. Each stage of a run takes its leases by a
 * view of its own (`budgetOf`), so that the run knows which stage holds what.
 */

import type { Arena } from './arena.ts'
import { Books, type TakeOptions } from './books.ts'
import { Ending } from './ending.ts'
import { VmapipeError } from './errors.ts'
import { type Holder, Lease, Slab } from './lease.ts'
import { Memory } from './memory.ts'
import { formatBytes } from './size.ts'

export type { TakeOptions } from './books.ts'
export { Lease, Slab } from './lease.ts'

/** The least budget that a user may set, 16 MiB: with less, a restore can neither hold the largest extent nor decompress. */
export const LEAST_BUDGET = 16 << 20

/** What all views of one budget share. */
interface Shared {
  readonly total: number
  readonly name: string
  readonly books: Books
  readonly memory: Memory
  readonly parts: Budget[]
  readonly isPart: boolean
  /** For a branch: the budget that it is of, and its own end. */
  readonly branch: { readonly of: Shared; readonly end: Ending } | null
}

/**
 * Bounds the memory of a pipeline, in bytes. A stage takes a lease before it holds data, and waits if the budget is used up. In a
 * stage, use `context.budget`. Errors: USAGE for more bytes than the budget can ever lend, or the error of the run after its end.
 *
 *     const budget = new Budget(64 << 20)
 *     const slab = await budget.take(1 << 20)
 *     slab.buffer.fill(0)
 *     slab.release()
 */
export class Budget {
  #shared: Shared
  #holder: Holder | null = null

  /** A budget of `total` bytes. Memory comes from `arena` as long as the arena has room. */
  constructor(total: number, name = 'the budget', arena?: Arena) {
    this.#shared = {
      total,
      name,
      books: new Books(total),
      memory: new Memory(arena),
      parts: [],
      isPart: false,
      branch: null,
    }
  }

  /** The same budget, as `holder` uses it. */
  static #view(shared: Shared, holder: Holder | null): Budget {
    const view = new Budget(shared.total, shared.name)
    view.#shared = shared
    view.#holder = holder
    return view
  }

  /** The view of this budget for one holder: what is taken by it is entered as held by that holder. */
  static of(budget: Budget, holder: Holder): Budget {
    return Budget.#view(budget.#shared, holder)
  }

  get total(): number {
    return this.#shared.total
  }

  get name(): string {
    return this.#shared.name
  }

  /** Bytes on lease now, including those of parts. */
  get used(): number {
    return this.#shared.parts.reduce((sum, part) => sum + part.used, this.lent)
  }

  /** The most bytes that were ever on lease. Parts count with their own maximum, which may have been at another time. */
  get highWater(): number {
    return this.#shared.parts.reduce((sum, part) => sum + part.highWater, this.#books.highWater)
  }

  /** The bytes that are left without the parts that were carved off. */
  get capacity(): number {
    return this.#books.capacity
  }

  /** When an urgent request first had to wait, in seconds since the epoch; null if none has. */
  get fullSince(): number | null {
    return this.#books.fullSince
  }

  /** Bytes on lease now, without those of parts. */
  get lent(): number {
    return this.#books.used
  }

  /** The number of leases given back so far, without those of parts. It grows as long as the pipeline makes progress. */
  get returned(): number {
    return this.#books.returned
  }

  /** The number of requests that wait, without those of parts. */
  get waiting(): number {
    return this.#books.waiting
  }

  /** The parts that were carved off. */
  get parts(): readonly Budget[] {
    return this.#shared.parts
  }

  /**
   * Takes a part of the budget for one stage alone, so that two stages of a pipeline never wait for each other's bytes.
   * Call it before anything flows. Throws USAGE if so much is not left.
   */
  carve(bytes: number, name: string): Budget {
    this.require(bytes, name)
    this.#books.carved += bytes
    const memory = this.#shared.memory.carve(bytes)
    const shared = { total: bytes, name, books: new Books(bytes), memory, parts: [], isPart: true, branch: null }
    const part = Budget.#view(shared, this.#holder)
    for (let holder: Shared | undefined = this.#shared; holder !== undefined; holder = holder.branch?.of) {
      holder.parts.push(part)
    }
    return part
  }

  /** The same memory for a branch of the pipeline, which `close` ends for that branch alone. */
  branch(): Budget {
    const end = new Ending()
    return Budget.#view({ ...this.#shared, parts: [], branch: { of: this.#shared, end } }, null)
  }

  /** Throws USAGE if the budget can never lend so much: waiting for it would never end. */
  require(bytes: number, name: string): void {
    if (bytes <= this.capacity) return
    const message = `${name} needs ${formatBytes(bytes)} of memory, ${formatBytes(this.capacity)} are left of ${this.name}`
    // The stage decides the size of its part, so the total that would be enough is not known here.
    const least = this.#shared.isPart ? '' : `, at least ${formatBytes(this.#books.carved + bytes)}`
    throw new VmapipeError('USAGE', message, { hint: `allow a larger --buffer${least}, or fewer threads` })
  }

  /** Waits for room and returns a buffer of exactly `bytes` bytes. */
  async take(bytes: number, options?: TakeOptions): Promise<Slab> {
    await this.#admit(bytes, options)
    return this.#slab(bytes)
  }

  /** The same without waiting: null if there is no room, or if an earlier request waits. */
  tryTake(bytes: number, options?: TakeOptions): Slab | null {
    return !this.#closed && this.#books.tryAdmit(bytes, options) ? this.#slab(bytes) : null
  }

  /** Waits for room for `bytes` bytes of memory that the caller allocates. `dispose` runs when the lease is given back. */
  async charge(bytes: number, dispose?: () => void, options?: TakeOptions): Promise<Lease> {
    await this.#admit(bytes, options)
    return this.#lease(bytes, dispose)
  }

  /** The same without waiting, as in `tryTake`. */
  tryCharge(bytes: number, options?: TakeOptions): Lease | null {
    return !this.#closed && this.#books.tryAdmit(bytes, options) ? this.#lease(bytes) : null
  }

  /**
   * Replaces leases by a slab of `bytes` bytes, which `fill` writes. The leases must have at least as many bytes and no other
   * user. It does not wait, because it can only free memory.
   */
  exchange(leases: readonly Lease[], bytes: number, fill: (buffer: Buffer) => void): Slab {
    this.#books.used += bytes
    const slab = this.#slab(bytes)
    fill(slab.buffer)
    for (const lease of leases) lease.release()
    return slab
  }

  /** Ends the budget: requests, also those that wait, fail with `error`. Leases that are out may still be given back. */
  close(error: Error): void {
    const { books, memory, parts, isPart, branch } = this.#shared
    if (branch === null) books.closed ??= error
    for (const part of parts) part.close(error)
    if (branch !== null) {
      branch.end.come(error)
      return
    }
    // A part owns its arena. The arena of the whole budget belongs to the caller.
    if (isPart) memory.closeArena()
    books.close(error)
    memory.close()
  }

  get #closed(): Error | null {
    return this.#shared.branch?.end.error ?? this.#books.closed
  }

  get #books(): Books {
    return this.#shared.books
  }

  #admit(bytes: number, options?: TakeOptions): Promise<void> | undefined {
    const books = this.#books
    if (this.#closed) throw this.#closed
    this.require(bytes, 'one piece')
    if (books.tryAdmit(bytes, options)) return undefined
    const admitted = books.wait(bytes, options, this.#holder)
    return this.#shared.branch?.end.orElse(admitted, () => books.giveBack(bytes)) ?? admitted
  }

  #lease(bytes: number, dispose?: () => void): Lease {
    const lease = new Lease(bytes, () => {
      dispose?.()
      this.#books.giveBack(bytes)
    })
    return this.#entered(lease)
  }

  #slab(bytes: number): Slab {
    const books = this.#books
    const { buffer, giveBack } = this.#shared.memory.take(bytes, books.capacity - books.used)
    const slab = new Slab(buffer, bytes, () => {
      giveBack()
      books.giveBack(bytes)
    })
    return this.#entered(slab)
  }

  #entered<L extends Lease>(lease: L): L {
    return this.#holder === null ? lease : lease.enter(this.#holder, this.#books.ledger)
  }
}
