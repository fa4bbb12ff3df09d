/**
 * Bounds the memory of a pipeline by one budget of bytes. A stage takes a lease before it holds data, and waits if the budget
 * is used up. That wait is the backpressure on the scan and on a guest's write.
 *
 * Leases are reference-counted, because views of one buffer may travel in several items. Freed buffers are kept
 * for the next lease of the same size, because fresh memory costs a page fault every 4 KiB.
 */

import type { Arena } from './arena.ts'
import { VmapipeError } from './errors.ts'
import { formatBytes } from './size.ts'

/** The least budget that a user may set, 16 MiB: with less, a restore can neither hold the largest extent nor decompress. */
export const LEAST_BUDGET = 16 << 20

/** A share of the budget, given back when its last holder releases it. */
export class Lease {
  readonly bytes: number
  #holders = 1
  readonly #free: () => void

  constructor(bytes: number, free: () => void) {
    this.bytes = bytes
    this.#free = free
  }

  retain(holders = 1): this {
    this.#holders += holders
    return this
  }

  release(): void {
    if (--this.#holders === 0) this.#free()
    else if (this.#holders < 0) throw new VmapipeError('STAGE', `a lease of ${this.bytes} bytes was released twice`)
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

/** Frees the memory of a buffer at once instead of at some later garbage collection. The buffer must not be used any more. */
export function discard(buffer: Uint8Array): void {
  const { buffer: memory } = buffer
  // A small Buffer is a part of Node's pool, which other Buffers share.
  const isPooled = memory.byteLength === Buffer.poolSize && buffer.byteLength < memory.byteLength
  if (memory instanceof ArrayBuffer && !isPooled) memory.transfer(0)
}

interface Waiter {
  bytes: number
  grant: () => void
  refuse: (error: Error) => void
}

export interface TakeOptions {
  /** Served before all requests that are not urgent. It is for copies that a guest's write waits for. */
  urgent?: boolean
}

export class Budget {
  readonly total: number
  readonly name: string
  readonly #arena: Arena | undefined
  #used = 0
  #highWater = 0
  #fullSince: number | null = null
  #pooled = 0
  readonly #pool = new Map<number, Buffer[]>()
  readonly #urgent: Waiter[] = []
  readonly #waiting: Waiter[] = []
  #closed: Error | null = null
  #returned = 0
  #carved = 0
  #isPart = false
  readonly #parts: Budget[] = []

  /** Memory comes from `arena` as long as the arena has room. */
  constructor(total: number, name = 'the budget', arena?: Arena) {
    this.total = total
    this.name = name
    this.#arena = arena
  }

  /** Bytes on lease now, including those of parts. */
  get used(): number {
    return this.#parts.reduce((sum, part) => sum + part.used, this.#used)
  }

  /** The most bytes that were ever on lease. Parts count with their own maximum, which may have been at another time. */
  get highWater(): number {
    return this.#parts.reduce((sum, part) => sum + part.highWater, this.#highWater)
  }

  /** The bytes that are left without the parts that were carved off. */
  get capacity(): number {
    return this.total - this.#carved
  }

  /** When an urgent request first had to wait, in seconds since the epoch; null if none has. */
  get fullSince(): number | null {
    return this.#fullSince
  }

  /** Bytes on lease now, without those of parts. */
  get lent(): number {
    return this.#used
  }

  /** The number of leases given back so far, without those of parts. It grows as long as the pipeline makes progress. */
  get returned(): number {
    return this.#returned
  }

  get waiting(): number {
    return this.#urgent.length + this.#waiting.length
  }

  /**
   * Takes a part of the budget for one stage alone, so that two stages of a pipeline never wait for each other's bytes.
   * Call it before anything flows.
   */
  carve(bytes: number, name: string): Budget {
    this.require(bytes, name)
    this.#carved += bytes
    const part = new Budget(bytes, name, this.#arena?.carve(bytes))
    part.#isPart = true
    this.#parts.push(part)
    return part
  }

  /** Throws USAGE if the budget can never lend so much: waiting for it would never end. */
  require(bytes: number, name: string): void {
    if (bytes <= this.capacity) return
    const message = `${name} needs ${formatBytes(bytes)} of memory, ${formatBytes(this.capacity)} are left of ${this.name}`
    // The stage decides the size of its part, so the total that would be enough is not known here.
    const least = this.#isPart ? '' : `, at least ${formatBytes(this.#carved + bytes)}`
    throw new VmapipeError('USAGE', message, { hint: `allow a larger --buffer${least}, or fewer threads` })
  }

  /** Waits for room and returns a buffer of exactly `bytes` bytes. */
  async take(bytes: number, options?: TakeOptions): Promise<Slab> {
    await this.#admit(bytes, options)
    return this.#slab(bytes)
  }

  /** The same without waiting: null if there is no room, or if an earlier request waits. */
  tryTake(bytes: number, options?: TakeOptions): Slab | null {
    return this.#tryAdmit(bytes, options) ? this.#slab(bytes) : null
  }

  /** Waits for room for `bytes` bytes of memory that the caller allocates. `dispose` runs when the lease is given back. */
  async charge(bytes: number, dispose?: () => void, options?: TakeOptions): Promise<Lease> {
    await this.#admit(bytes, options)
    return this.#lease(bytes, dispose)
  }

  /** The same without waiting, as in `tryTake`. */
  tryCharge(bytes: number, options?: TakeOptions): Lease | null {
    return this.#tryAdmit(bytes, options) ? this.#lease(bytes) : null
  }

  /**
   * Replaces leases by a slab of `bytes` bytes, which `fill` writes. The leases must have at least as many bytes and no other
   * holder. It does not wait, because it can only free memory.
   */
  exchange(leases: readonly Lease[], bytes: number, fill: (buffer: Buffer) => void): Slab {
    this.#used += bytes
    const slab = this.#slab(bytes)
    fill(slab.buffer)
    for (const lease of leases) lease.release()
    return slab
  }

  /** Ends the budget: requests, also those that wait, fail with `error`. Leases that are out may still be given back. */
  close(error: Error): void {
    this.#closed ??= error
    for (const part of this.#parts) part.close(error)
    // A part owns its arena. The arena of the whole budget belongs to the caller.
    if (this.#isPart) this.#arena?.close()
    for (const waiter of [...this.#urgent.splice(0), ...this.#waiting.splice(0)]) waiter.refuse(error)
    for (const buffers of this.#pool.values()) for (const buffer of buffers) discard(buffer)
    this.#pool.clear()
    this.#pooled = 0
  }

  #lease(bytes: number, dispose?: () => void): Lease {
    return new Lease(bytes, () => {
      dispose?.()
      this.#release(bytes)
    })
  }

  #tryAdmit(bytes: number, { urgent = false }: TakeOptions = {}): boolean {
    const before = urgent ? this.#urgent.length : this.waiting
    if (this.#closed || before > 0 || this.#used + bytes > this.capacity) return false
    this.#account(bytes)
    return true
  }

  #admit(bytes: number, { urgent = false }: TakeOptions = {}): Promise<void> | undefined {
    if (this.#closed) throw this.#closed
    this.require(bytes, 'one piece')
    const nobodyBefore = this.#urgent.length === 0 && (urgent || this.#waiting.length === 0)
    if (nobodyBefore && this.#used + bytes <= this.capacity) {
      this.#account(bytes)
      return undefined
    }
    if (urgent) this.#fullSince ??= Date.now() / 1000
    return new Promise((grant, refuse) => {
      const queue = urgent ? this.#urgent : this.#waiting
      queue.push({ bytes, grant, refuse })
    })
  }

  #account(bytes: number): void {
    this.#used += bytes
    if (this.#used > this.#highWater) this.#highWater = this.#used
  }

  #slab(bytes: number): Slab {
    if (this.#arena !== undefined) return this.#lend(this.#arena, bytes)
    const buffer = this.#reuse(bytes) ?? Buffer.allocUnsafeSlow(bytes)
    return new Slab(buffer, bytes, () => {
      this.#keep(buffer)
      this.#release(bytes)
    })
  }

  /** Lends from the arena. If the arena has no piece of that size, it allocates memory and frees it as soon as it is given back. */
  #lend(arena: Arena, bytes: number): Slab {
    const part = arena.take(bytes)
    const buffer = part ?? Buffer.allocUnsafeSlow(bytes)
    return new Slab(buffer, bytes, () => {
      if (part === null) discard(buffer)
      else arena.giveBack(part)
      this.#release(bytes)
    })
  }

  #reuse(bytes: number): Buffer | undefined {
    const buffer = this.#pool.get(bytes)?.pop()
    if (buffer !== undefined) {
      this.#pooled -= bytes
      return buffer
    }
    // Drops kept buffers of other sizes: all buffers together must not exceed the budget.
    for (const [size, buffers] of this.#pool) {
      while (this.#used + this.#pooled > this.capacity && buffers.length > 0) {
        discard(buffers.pop()!)
        this.#pooled -= size
      }
    }
    return undefined
  }

  #keep(buffer: Buffer): void {
    if (this.#closed) return
    const size = buffer.byteLength
    const buffers = this.#pool.get(size)
    if (buffers === undefined) this.#pool.set(size, [buffer])
    else buffers.push(buffer)
    this.#pooled += size
  }

  #release(bytes: number): void {
    this.#used -= bytes
    this.#returned++
    this.#serve(this.#urgent)
    if (this.#urgent.length === 0) this.#serve(this.#waiting)
  }

  #serve(queue: Waiter[]): void {
    while (queue.length > 0 && this.#used + queue[0].bytes <= this.capacity) {
      const waiter = queue.shift()!
      this.#account(waiter.bytes)
      waiter.grant()
    }
  }
}
