/**
 * The guest's memory on its way into the archive: turns the one connection of QEMU's background snapshot into the clusters of a drive
 * of its own, in order. The drive is zero behind the stream's end, which the stream marks itself. It goes before everything that the
 * scan has read: a guest whose memory is protected waits for it.
 */

import type { Socket } from 'node:net'
import type { Budget, Slab } from '../../../core/budget.ts'
import { VmapipeError } from '../../../core/errors.ts'
import { CLUSTER_SIZE, clusterCount } from '../../../core/geometry.ts'
import { Run } from '../../../core/items.ts'
import { SLOTS_USED } from '../../../formats/vma/extent.ts'
import { adopt } from '../../../protocol/adopt.ts'
import { Feeder, type Parser } from '../../../protocol/feeder.ts'
import type { ClaimedReader } from '../../../stages/cluster-source/claims.ts'
import type { PushHost } from '../push-target.ts'

/** Bytes of one buffer that QEMU's bytes are read into. */
const PIECE = 1 << 19
/** The most clusters of one run of zeroes, and the bytes that it takes of the budget. */
const ZERO_CLUSTERS = 64 * SLOTS_USED
const RUN_BYTES = 512

/**
 * Bytes of the budget that the stream may hold; the rest is for the scan and for what the guest overwrites. An extent that is not
 * full holds up to 4.5 MiB of it, and the data that fills it needs room too.
 */
function share(budget: number): number {
  return Math.max(6 << 20, Math.min(16 << 20, budget >> 2))
}

interface RamStreamOptions {
  /** dev_id of the archive. */
  drive: number
  /** Bytes, whole clusters. */
  size: number
  host: Omit<PushHost, 'budget' | 'scanned'>
  /** Resolves when QEMU says that the stream, which has ended, was whole. */
  outcome: () => Promise<void>
}

export class RamStream {
  readonly size: number
  /** As the scan sees it: nothing of it is the scan's to read. */
  readonly reader: ClaimedReader
  readonly #options: RamStreamOptions
  readonly #feeder: Feeder
  readonly #whole = Promise.withResolvers<void>()
  #budget: Budget | null = null
  #socket: Socket | null = null
  #slab: Slab | null = null
  /** Pending while there is none. */
  #room: Promise<void> | null = null
  #received = 0
  /** Clusters that went into the archive. */
  #done = 0
  #ended = false
  #over = false

  constructor(options: RamStreamOptions) {
    this.#options = options
    this.size = options.size
    this.reader = notOfTheScan(options.size)
    this.#feeder = new Feeder(this.#session())
  }

  /** Resolves when all of it has come. Never if the backup ends before. */
  get whole(): Promise<void> {
    return this.#whole.promise
  }

  /** Takes its part of the memory, before anything flows. */
  begin(budget: Budget): void {
    this.#budget = budget.carve(share(budget.capacity), "the guest's memory")
  }

  /** Takes QEMU's connection, which must not have been read from. A second connection is closed. */
  accept(connection: Socket): void {
    if (this.#socket !== null || this.#over || this.#budget === null) {
      connection.destroy()
      return
    }
    const callback = (count: number) => this.#came(count)
    this.#socket = adopt(connection, { buffer: () => this.#feeder.target(), callback })
    this.#socket.on('error', (error) => this.#fail(cut(error)))
    this.#socket.on('end', () => void this.#end().catch((error) => this.#fail(error)))
    this.#socket.on('close', () => this.#ended || this.#fail(cut()))
    void this.#roomy()
  }

  /** Closes the connection: QEMU's snapshot fails, and the guest goes on. */
  end(): void {
    if (this.#over) return
    this.#over = true
    this.#socket?.destroy()
    this.#slab?.release()
    this.#slab = null
  }

  /** Fills one slab after the other; waits if there is none. */
  *#session(): Parser {
    for (;;) {
      while (this.#slab === null) yield null
      yield this.#slab.buffer
      this.#archive(PIECE)
    }
  }

  /** Returns false to stop reading. */
  #came(count: number): boolean {
    if (this.#over) return false
    this.#received += count
    this.#feeder.received(count)
    if (!this.#feeder.isWaiting) return true
    void this.#roomy()
    // There may have been room at once.
    return !this.#feeder.isWaiting
  }

  /** Resolves when there is room again, or the stream has ended. */
  #roomy(): Promise<void> {
    this.#room ??= this.#makeRoom()
      .catch((error) => this.#fail(error))
      .finally(() => {
        this.#room = null
      })
    return this.#room
  }

  async #makeRoom(): Promise<void> {
    const slab = this.#budget!.tryTake(PIECE) ?? (await this.#wait())
    if (this.#over) return slab.release()
    this.#slab = slab
    this.#feeder.wake()
    this.#socket!.resume()
  }

  /** Waits for memory, and with it QEMU and the guest. */
  async #wait(): Promise<Slab> {
    const answer = this.#options.host.waits()
    return this.#budget!.take(PIECE).finally(answer)
  }

  async #end(): Promise<void> {
    this.#ended = true
    this.#socket!.destroy()
    await this.#options.outcome()
    // Some bytes may have come while there was no room.
    while (this.#slab === null && !this.#over) await this.#roomy()
    if (this.#over) return
    this.#archive(this.#received - this.#done * CLUSTER_SIZE)
    await this.#zeroes()
    this.#whole.resolve()
  }

  /** The first `length` bytes of the slab; the rest of the last cluster is zero. */
  #archive(length: number): void {
    const slab = this.#slab!
    this.#slab = null
    const count = clusterCount(length)
    const isWanted = count > 0 && !this.#over && this.#fits(count)
    const bytes = slab.buffer.subarray(0, count * CLUSTER_SIZE).fill(0, length)
    if (isWanted) this.#emit(new Run(this.#options.drive, this.#done, count, [bytes], null, [slab]))
    else slab.release()
  }

  #fits(count: number): boolean {
    if (this.#done + count <= clusterCount(this.size)) return true
    const message = `the guest's memory and devices need more than the ${this.size} bytes that were expected`
    this.#fail(new VmapipeError('FAILED', message))
    return false
  }

  async #zeroes(): Promise<void> {
    const clusters = clusterCount(this.size)
    while (this.#done < clusters && !this.#over) {
      const lease = await this.#budget!.charge(RUN_BYTES)
      const count = Math.min(ZERO_CLUSTERS, clusters - this.#done)
      if (this.#over) lease.release()
      else this.#emit(new Run(this.#options.drive, this.#done, count, [], null, [lease]))
    }
  }

  #emit(run: Run): void {
    this.#done += run.count
    this.#options.host.emit(run)
    this.#options.host.pushed(run.count)
  }

  #fail(error: unknown): void {
    if (!this.#over) this.#options.host.fail(error)
  }
}

function cut(cause?: Error): VmapipeError {
  return new VmapipeError('FAILED', `QEMU hung up on the guest's memory${cause ? `: ${cause.message}` : ''}`, { cause })
}

function notOfTheScan(size: number): ClaimedReader {
  return {
    size,
    claims: { free: () => 0, claim: () => [], settle: () => [] },
    async *map(offset, length) {
      yield { offset, length, zero: true }
    },
    async read() {
      throw new VmapipeError('STAGE', "the guest's memory is not there to be read")
    },
    async close() {},
  }
}
