/**
 * An NBD export as a client sees it. Reads and writes may have any size and alignment: they are cut to what the server takes.
 * Many may be in flight. Offsets and lengths are bytes.
 */

import { VmapipeError } from '../../core/errors.ts'
import { type Piece, piecesOf } from '../../core/pieces.ts'
import { RangeLock } from '../../core/range-lock.ts'
import { type ClientRequest, Connection, type ConnectionOptions } from './connection.ts'
import * as nbd from './constants.ts'
import type { Terms } from './handshake.ts'
import { LastingConnection, type Opener, type Upstream } from './lasting-connection.ts'
import { cutBuffers } from './pieces.ts'
import type { Pending } from './replies.ts'
import { Slots } from './slots.ts'
import { formatNbdAddress, type NbdAddress } from './uri.ts'

export interface NbdOptions extends ConnectionOptions {
  /** The most requests in flight; 16 by default. */
  depth?: number
  /** The most bytes of one READ or WRITE, if the server takes as many; 1 MiB by default. */
  requestSize?: number
}

/** An extent of base:allocation: flags STATE_HOLE and STATE_ZERO. */
interface NbdExtent {
  offset: number
  length: number
  flags: number
}

export interface Patience {
  /** How long to wait for a server that is away, in milliseconds; for ever unless given. */
  patience?: number | undefined
}

/** The most bytes of one request without payload (256 MiB, 2 GiB), so that its reply comes soon. */
const MAX_ZEROES = 256 * 2 ** 20
const MAX_STATUS = 2 ** 31
/** Bytes of changes that a client keeps for a server that may go away: 16 MiB, as much as the cache of a disk. */
const KEEP_BYTES = 16 << 20

export class NbdClient {
  readonly size: number
  readonly readOnly: boolean
  readonly canFlush: boolean
  readonly canFua: boolean
  readonly canTrim: boolean
  readonly canWriteZeroes: boolean
  readonly canMultiConn: boolean
  /** Whether BLOCK_STATUS tells what is allocated. */
  readonly hasAllocation: boolean
  /** The server takes only offsets and lengths that are multiples of this, in bytes. */
  readonly minBlock: number
  readonly requestSize: number
  /** The connection, if the server may go away and come back; null if not. */
  readonly upstream: Upstream | null
  readonly #connection: Connection | LastingConnection
  readonly #slots: Slots
  readonly #lock = new RangeLock()

  private constructor(
    connection: Connection,
    terms: Terms,
    { depth = 16, requestSize = 2 ** 20 }: NbdOptions,
    again?: Opener,
  ) {
    const has = (flag: number) => (terms.flags & flag) !== 0
    this.#slots = new Slots(depth)
    this.size = terms.size
    this.readOnly = has(nbd.FLAG_READ_ONLY)
    this.canFlush = has(nbd.FLAG_SEND_FLUSH)
    this.canFua = has(nbd.FLAG_SEND_FUA)
    this.canTrim = has(nbd.FLAG_SEND_TRIM)
    this.canWriteZeroes = has(nbd.FLAG_SEND_WRITE_ZEROES)
    this.canMultiConn = has(nbd.FLAG_CAN_MULTI_CONN)
    this.hasAllocation = terms.allocationContext !== null
    this.minBlock = terms.minBlock
    this.requestSize = Math.max(terms.minBlock, Math.min(requestSize, terms.maxPayload))
    const keep = Math.max(KEEP_BYTES, 3 * this.requestSize)
    const lasting = again && new LastingConnection([connection, terms], again, keep)
    this.#connection = lasting ?? connection
    this.upstream = lasting ?? null
  }

  static connect(address: NbdAddress, options: NbdOptions = {}): Promise<NbdClient> {
    return NbdClient.by((more) => openExport(address, more), options)
  }

  /** Connects to a server that may go away. Requests then wait until it is back. */
  static connectLasting(address: NbdAddress, options: NbdOptions = {}): Promise<NbdClient> {
    return NbdClient.lasting((more) => openExport(address, { ...options, ...more }), options)
  }

  /** Connects by a function of the caller's. */
  static async by(open: Opener, options: NbdOptions = {}): Promise<NbdClient> {
    return new NbdClient(...(await open(options)), options)
  }

  static async lasting(open: Opener, options: NbdOptions = {}): Promise<NbdClient> {
    return new NbdClient(...(await open(options)), options, open)
  }

  /**
   * Fills `buffer` from `offset`. If the range does not consist of whole blocks of the server, whole blocks are read and cut.
   * The caller may use the buffer again when the promise is settled.
   */
  async read(buffer: Uint8Array, offset: number, { patience }: Patience = {}): Promise<void> {
    await this.#all(piecesOf(offset, buffer.byteLength, this.requestSize, this.minBlock), (piece) => {
      const into = buffer.subarray(piece.offset - offset, piece.offset - offset + piece.length)
      return this.#readPiece(into, piece, patience)
    })
  }

  /**
   * Writes the buffers one after the other from `offset`, and with `fua` makes them durable. If they have only a part of a block
   * of the server, the block is read first and written as a whole.
   */
  async write(buffers: readonly Uint8Array[], offset: number, options: { fua?: boolean } = {}): Promise<void> {
    const end = buffers.reduce((sum, { byteLength }) => sum + byteLength, offset)
    await this.#writing(offset, end, async (from, until) => {
      const head = from < offset ? await this.#bytes(from, offset) : null
      const tail = end < until ? await this.#bytes(end, until) : null
      const whole = [...(head ? [head] : []), ...buffers, ...(tail ? [tail] : [])]
      await this.#writeBlocks(whole, from, options)
    })
  }

  async #writeBlocks(buffers: readonly Uint8Array[], offset: number, { fua = false }): Promise<void> {
    const flags = fua ? nbd.CMD_FLAG_FUA : 0
    await this.#all(cutBuffers(buffers, offset, this.requestSize, this.minBlock), ({ payload, ...piece }) =>
      this.#request({ type: nbd.CMD_WRITE, flags, payload, ...piece }),
    )
  }

  /** Makes the range read as zeroes. With `noHole` it stays allocated. */
  async writeZeroes(offset: number, length: number, { fua = false, noHole = false } = {}): Promise<void> {
    const flags = (fua ? nbd.CMD_FLAG_FUA : 0) | (noHole ? nbd.CMD_FLAG_NO_HOLE : 0)
    const { from, until } = this.#wholeBlocks(offset, offset + length)
    const edges = until > from ? edgesOf(offset, from, until, offset + length) : [[offset, offset + length]]
    for (const [start, end] of edges) await this.write([Buffer.alloc(end - start)], start, { fua })
    if (until <= from) return
    await this.#writing(from, until, () =>
      this.#all(piecesOf(from, until - from, MAX_ZEROES, this.minBlock), (piece) =>
        this.#request({ type: nbd.CMD_WRITE_ZEROES, flags, ...piece }),
      ),
    )
  }

  /** Tells the server that the content of the range is not needed any more. Does so only for whole blocks of the server. */
  async trim(offset: number, length: number): Promise<void> {
    const { from, until } = this.#wholeBlocks(offset, offset + length)
    if (until <= from) return
    await this.#writing(from, until, () =>
      this.#all(piecesOf(from, until - from, MAX_ZEROES, this.minBlock), (piece) =>
        this.#request({ type: nbd.CMD_TRIM, ...piece }),
      ),
    )
  }

  /** Makes all that was written durable. Does nothing if the server has no FLUSH. */
  async flush(): Promise<void> {
    if (this.canFlush) await this.#request({ type: nbd.CMD_FLUSH })
  }

  /** Gives adjacent extents that cover the range exactly. Needs `hasAllocation`. */
  async *extents(offset: number, length: number, { patience }: Patience = {}): AsyncGenerator<NbdExtent> {
    const end = offset + length
    let position = offset
    while (position < end) {
      const from = position - (position % this.minBlock)
      const until = Math.min(Math.ceil(end / this.minBlock) * this.minBlock, this.size, from + MAX_STATUS)
      const asked = { type: nbd.CMD_BLOCK_STATUS, offset: from, length: until - from, patience }
      const { extents } = await this.#request(asked)
      const before = position
      let start = from
      for (const { length: bytes, flags } of extents!) {
        if (bytes === 0) throw this.#violation('an extent of no bytes')
        const stop = start + bytes
        // Some servers end an extent within one of their blocks, which "Block sizes" forbids. That block counts as data.
        const rest = stop < until ? stop % this.minBlock : 0
        // The last extent may end behind the range, and the first may begin before it.
        const next = Math.min(stop - rest, end)
        if (next > position) yield { offset: position, length: next - position, flags }
        position = Math.max(position, next)
        if (rest > 0) {
          const mixed = Math.min(stop - rest + this.minBlock, end)
          if (mixed > position) yield { offset: position, length: mixed - position, flags: 0 }
          position = Math.max(position, mixed)
        }
        start = stop
        if (rest > 0 || position >= end) break
      }
      if (position === before) throw this.#violation('a block status without progress')
    }
  }

  /** Closes the connection. What is in flight fails. May be called more than once. */
  async close(): Promise<void> {
    this.#slots.close(new VmapipeError('FAILED', 'the connection was closed'))
    await this.#connection.close()
  }

  async #readPiece(into: Uint8Array, { offset, length }: Piece, patience: number | undefined): Promise<void> {
    const from = offset - (offset % this.minBlock)
    const until = Math.min(Math.ceil((offset + length) / this.minBlock) * this.minBlock, this.size)
    if (from === offset && until === offset + length) {
      await this.#request({ type: nbd.CMD_READ, offset, length, into, patience })
      return
    }
    const blocks = Buffer.allocUnsafe(until - from)
    await this.#request({ type: nbd.CMD_READ, offset: from, length: until - from, into: blocks, patience })
    into.set(blocks.subarray(offset - from, offset - from + length))
  }

  /** The whole blocks of the server within the range. A shorter last block of the export counts as whole. */
  #wholeBlocks(offset: number, end: number): { from: number; until: number } {
    const from = Math.ceil(offset / this.minBlock) * this.minBlock
    const until = end === this.size ? end : end - (end % this.minBlock)
    return { from, until }
  }

  /** Runs `work` on the blocks that the range touches. If it touches a part of a block, no other write to these blocks runs. */
  async #writing(offset: number, end: number, work: (from: number, until: number) => Promise<unknown>): Promise<void> {
    if (this.minBlock === 1) {
      await work(offset, end)
      return
    }
    const from = offset - (offset % this.minBlock)
    const until = Math.min(Math.ceil(end / this.minBlock) * this.minBlock, this.size)
    const leave = await this.#lock.enter(from, until, from < offset || end < until)
    try {
      await work(from, until)
    } finally {
      leave()
    }
  }

  async #bytes(start: number, end: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(end - start)
    await this.read(buffer, start)
    return buffer
  }

  async #request(request: ClientRequest): Promise<Pending> {
    const wait = this.#slots.enter()
    if (wait) await wait
    try {
      return await this.#connection.send(request)
    } finally {
      this.#slots.leave()
    }
  }

  /** Does all pieces and waits for all of them even if one fails, as they use the caller's buffers. */
  async #all<P>(pieces: Iterable<P>, work: (piece: P) => Promise<unknown>): Promise<void> {
    const list = [...pieces]
    if (list.length === 1) {
      await work(list[0])
      return
    }
    const outcomes = await Promise.allSettled(list.map(work))
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed) throw failed.reason
  }

  #violation(message: string): VmapipeError {
    const error = new VmapipeError('FAILED', `the NBD server does not keep to the protocol: ${message}`)
    this.#connection.fail(error)
    return error
  }
}

/** Connects to an export. Refuses one without transmission flags. */
export async function openExport(address: NbdAddress, options: ConnectionOptions): Promise<[Connection, Terms]> {
  const [connection, terms] = await Connection.open(address, options)
  if ((terms.flags & nbd.FLAG_HAS_FLAGS) !== 0) return [connection, terms]
  await connection.close()
  throw new VmapipeError('FAILED', `${formatNbdAddress(address)}: export '${address.exportName}' without flags`)
}

/** The parts of a range before and behind its whole blocks. */
function edgesOf(offset: number, from: number, until: number, end: number): [start: number, end: number][] {
  const edges: [number, number][] = [
    [offset, from],
    [until, end],
  ]
  return edges.filter(([start, stop]) => start < stop)
}
