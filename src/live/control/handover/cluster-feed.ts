/**
 * Clusters of a service as they come: in its memory if we share it, otherwise inline. What is held for long is copied and given
 * back: the service's memory is for old data that a guest waits to overwrite.
 */

import { Bell } from '../../../core/bell.ts'
import { type Budget, Lease, type Slab } from '../../../core/budget.ts'
import { VmapipeError } from '../../../core/errors.ts'
import { type ClusterItem, type Manifest, Run } from '../../../core/items.ts'
import { decodeHeader, MAX_HEADER_SIZE } from '../../../formats/vma/header.ts'
import type { Parser } from '../../../protocol/feeder.ts'
import type { SharedMemory } from '../../../system/shared-memory.ts'
import { Exchange, type Refusal } from '../exchange.ts'
import {
  bytesOf,
  decodeMessage,
  Kind,
  MEMORY,
  MESSAGE_BYTES,
  type Message,
  PROTOCOL,
  RETURN_BYTES,
} from './messages.ts'

/** The most items that wait to be read. */
const MOST_READY = 256
/** The most bytes of one item; a service reads less at once. */
const MOST_BYTES = 4 << 20

interface FeedOptions {
  /** Of the control socket. */
  path: string
  /** The target of the HTTP request: path and query. */
  target: string
  /** The body of the request, JSON. */
  text: string
  /** Of the service; null if all data is to come inline. The feed closes it if it is made. */
  shared: { memory: SharedMemory; inode: number } | null
  /** Bytes of the shared memory that may be held without copying. */
  mostHeld?: number
  signal?: AbortSignal
}

/** A cluster's data in the service's memory. */
interface Told {
  message: Message
  number: number
}

export class ClusterFeed {
  readonly #exchange: Exchange
  readonly #memory: SharedMemory | null
  readonly #mostHeld: number
  readonly #ready: (ClusterItem | Told)[] = []
  #manifest: Manifest | null = null
  #count = 0
  #held = 0
  #returns: number[] = []
  /** Bytes for which the parser needs room, and the room. */
  #wanted = 0
  #room: Slab | null = null
  #ended = false
  /** Rings when there is an item, when room is wanted, and at the end. */
  readonly #bell = new Bell()

  private constructor({ shared, mostHeld = 0, ...request }: FeedOptions) {
    this.#memory = shared?.memory ?? null
    this.#mostHeld = mostHeld
    this.#exchange = new Exchange({
      ...request,
      headers: [
        ...['Connection: Upgrade', `Upgrade: ${PROTOCOL}`],
        ...(shared === null ? [] : [`${MEMORY}: ${shared.inode}`]),
      ],
      body: () => this.#body(),
      ended: () => this.#bell.ring(),
    })
  }

  /** Resolves when clusters begin to come, or with what was answered instead. */
  static async request(options: FeedOptions): Promise<ClusterFeed | Refusal> {
    const feed = new ClusterFeed(options)
    return (await feed.#exchange.answer) ?? feed
  }

  /** The next item; null when all have come. Copies are in memory that `budget` lends. */
  async read(budget: Budget): Promise<ClusterItem | null> {
    for (;;) {
      if (this.#exchange.failure !== null) throw this.#exchange.failure
      const item = this.#ready.shift()
      if (item !== undefined) {
        if (this.#ready.length === 0) this.#exchange.wake()
        return 'number' in item ? this.#take(item, budget) : item
      }
      if (this.#ended) return null
      if (this.#wanted > 0) {
        const room = await budget.take(this.#wanted)
        this.#wanted = 0
        if (this.#exchange.isOpen) this.#room = room
        else room.release()
        this.#exchange.wake()
      } else await this.#bell.next()
    }
  }

  /** Resolves when the service says that it had everything back in time: its memory did not change while it was used here. */
  async confirmed(): Promise<void> {
    while (this.#exchange.isOpen) await this.#bell.next()
    if (this.#exchange.failure !== null) throw this.#exchange.failure
  }

  /** No item of it may be used any more. */
  close(): void {
    this.#exchange.end(new VmapipeError('ABORTED', 'closed'))
    this.#room?.release()
    this.#room = null
    for (const item of this.#ready.splice(0)) if ('release' in item) item.release()
    this.#memory?.close()
  }

  async #take({ message, number }: Told, budget: Budget): Promise<Run> {
    const { drive, first, count, length, offset } = message
    const bytes = this.#memory!.memory.subarray(offset, offset + length)
    if (this.#held + length <= this.#mostHeld) {
      this.#held += length
      const lease = new Lease(length, () => {
        this.#held -= length
        this.#giveBack(number)
      })
      return new Run(drive, first, count, [bytes], null, [lease])
    }
    const slab = await budget.take(length)
    slab.buffer.set(bytes)
    this.#giveBack(number)
    return new Run(drive, first, count, [slab.buffer], null, [slab])
  }

  /** Collects the numbers, so that several are sent at once. */
  #giveBack(number: number): void {
    if (this.#returns.length === 0) setImmediate(() => this.#sendReturns())
    this.#returns.push(number)
  }

  #sendReturns(): void {
    const bytes = Buffer.allocUnsafe(this.#returns.length * RETURN_BYTES)
    for (const [index, number] of this.#returns.entries()) bytes.writeUInt32BE(number, index * RETURN_BYTES)
    this.#returns = []
    this.#exchange.send(bytes)
  }

  *#body(): Parser {
    for (;;) {
      while (this.#ready.length >= MOST_READY) yield null
      const message = decodeMessage(yield MESSAGE_BYTES)
      if (message.kind === Kind.END) break
      this.#add(yield* this.#item(message))
    }
    if (this.#manifest === null) throw odd('the end comes before the manifest')
    this.#ended = true
    this.#bell.ring()
    if (decodeMessage(yield MESSAGE_BYTES).kind !== Kind.WHOLE) throw odd('something comes behind the end')
    this.#exchange.whole()
  }

  #add(item: ClusterItem | Told): void {
    this.#ready.push(item)
    this.#bell.ring()
  }

  *#item(message: Message): Parser<ClusterItem | Told> {
    if (message.kind === Kind.MANIFEST) return yield* this.#header(message)
    if (this.#manifest === null) throw odd('clusters come before the manifest')
    const { kind, drive, first, count, length, offset } = message
    const bytes = bytesOf(message, this.#manifest)
    if (bytes === null) throw odd('a drive has no such clusters')
    if (kind === Kind.ZEROES) return new Run(drive, first, count, [])
    if (length !== bytes || length > MOST_BYTES) throw odd('clusters have another length')
    if (kind === Kind.INLINE) return yield* this.#inline(message)
    if (kind !== Kind.SHARED) throw odd('an unknown message')
    if (offset + length > (this.#memory?.memory.length ?? 0)) throw odd('the data is not in the memory')
    const number = this.#count
    this.#count = (number + 1) >>> 0
    return { message, number }
  }

  *#header({ length }: Message): Parser<Manifest> {
    if (this.#manifest !== null || length === 0 || length > MAX_HEADER_SIZE) throw odd('a manifest that cannot be')
    const header = Buffer.alloc(length)
    yield header
    this.#manifest = decodeHeader(header)
    return this.#manifest
  }

  *#inline({ drive, first, count, length }: Message): Parser<Run> {
    this.#wanted = length
    this.#bell.ring()
    while (this.#room === null) yield null
    const slab = this.#room
    yield slab.buffer
    this.#room = null
    return new Run(drive, first, count, [slab.buffer], null, [slab])
  }
}

function odd(what: string): VmapipeError {
  return new VmapipeError('FAILED', `the answer is not that of a service: ${what}`)
}
