/**
 * One budget of bytes bounds the memory of a pipeline. Whoever wants to hold data takes a lease first, and waits
 * where there is none: that wait is the backpressure, of the scan and of a guest's write alike.
 *
 * Leases are counted references, because views of one buffer may travel in several items. Freed buffers are kept
 * for the next lease of the same size: fresh memory costs a page fault every 4 KiB.
 */

import type { Arena } from './arena.ts'
import { VmapipeError } from './errors.ts'
import { formatBytes } from './size.ts'

/** The least that a user may set: with less a restore can neither hold the largest extent nor decompress. */
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

/** A lease with the memory itself. The buffer's old content is still in it. */
export class Slab extends Lease {
  readonly buffer: Buffer

  constructor(buffer: Buffer, bytes: number, free: () => void) {
    super(bytes, free)
    this.buffer = buffer
  }
}

/** Frees the memory behind a buffer at once instead of at some later garbage collection. Nothing may look at it any more. */
export function discard(buffer: Uint8Array): void {
  const { buffer: memory } = buffer
  // A small Buffer is a part of Node's pool, which it shares with others.
  const isPooled = memory.byteLength === Buffer.poolSize && buffer.byteLength < memory.byteLength
  if (memory instanceof ArrayBuffer && !isPooled) memory.transfer(0)
}

interface Waiter {
  bytes: number
  grant: () => void
  refuse: (error: Error) => void
}

export interface TakeOptions {
  /** Goes before everybody who waits without it: copies that a guest's write waits for. */
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

  /** Memory comes from `arena` as long as that has some. */
  constructor(total: number, name = 'the budget', arena?: Arena) {
    this.total = total
    this.name = name
    this.#arena = arena
  }

  /** Bytes on lease now, those of parts included. */
  get used(): number {
    return this.#parts.reduce((sum, part) => sum + part.used, this.#used)
  }

  /** The most that was ever on lease; of parts, each at its own time. */
  get highWater(): number {
    return this.#parts.reduce((sum, part) => sum + part.highWater, this.#highWater)
  }

  /** What is left after the parts carved off. */
  get capacity(): number {
    return this.total - this.#carved
  }

  /** Since when urgent ones had to wait first, in seconds since the epoch; null where none has. */
  get fullSince(): number | null {
    return this.#fullSince
  }

  /** Bytes on lease now, parts aside. */
  get lent(): number {
    return this.#used
  }

  /** How many leases have been given back so far, parts aside: it grows as long as something goes on. */
  get returned(): number {
    return this.#returned
  }

  get waiting(): number {
    return this.#urgent.length + this.#waiting.length
  }

  /**
   * A part of the budget for one stage alone, so that two stages of one pipeline can never wait for each other's bytes.
   * To be called before anything flows.
   */
  carve(bytes: number, name: string): Budget {
    this.require(bytes, name)
    this.#carved += bytes
    const part = new Budget(bytes, name, this.#arena?.carve(bytes))
    part.#isPart = true
    this.#parts.push(part)
    return part
  }

  /** Throws USAGE where so much can never be lent: better at once than a wait without end. */
  require(bytes: number, name: string): void {
    if (bytes <= this.capacity) return
    const message = `${name} needs ${formatBytes(bytes)} of memory, ${formatBytes(this.capacity)} are left of ${this.name}`
    // How large a part is, is its stage's affair: nobody here knows of what total it would be large enough.
    const least = this.#isPart ? '' : `, at least ${formatBytes(this.#carved + bytes)}`
    throw new VmapipeError('USAGE', message, { hint: `allow a larger --buffer${least}, or fewer threads` })
  }

  /** A buffer of exactly `bytes` bytes, when there is room for it. */
  async take(bytes: number, options?: TakeOptions): Promise<Slab> {
    await this.#admit(bytes, options)
    return this.#slab(bytes)
  }

  /** The same without waiting: null when there is no room, or when somebody waits already whose turn is before. */
  tryTake(bytes: number, options?: TakeOptions): Slab | null {
    return this.#tryAdmit(bytes, options) ? this.#slab(bytes) : null
  }

  /** Room for `bytes` bytes of memory that somebody else allocates; `dispose` runs when it is given back. */
  async charge(bytes: number, dispose?: () => void, options?: TakeOptions): Promise<Lease> {
    await this.#admit(bytes, options)
    return this.#lease(bytes, dispose)
  }

  /** The same without waiting, as `tryTake`. */
  tryCharge(bytes: number, options?: TakeOptions): Lease | null {
    return this.#tryAdmit(bytes, options) ? this.#lease(bytes) : null
  }

  /**
   * A slab of `bytes` bytes, which `fill` writes, in place of leases of at least as many bytes that nobody else holds. At once: memory
   * only becomes free by it.
   */
  exchange(leases: readonly Lease[], bytes: number, fill: (buffer: Buffer) => void): Slab {
    this.#used += bytes
    const slab = this.#slab(bytes)
    fill(slab.buffer)
    for (const lease of leases) lease.release()
    return slab
  }

  /** Nobody gets anything any more; those who wait are refused with `error`. Leases that are out may still come back. */
  close(error: Error): void {
    this.#closed ??= error
    for (const part of this.#parts) part.close(error)
    // A part's own; that of the whole is somebody else's.
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

  /** Where the arena has not so much in one piece, other memory goes in between, and is freed at once. */
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
    // Kept buffers of other sizes make room for a new one: together they never exceed the budget.
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
