/**
 * An NBD export, as a client sees it: reads and writes of any size, cut to what the server takes, many in flight.
 * Offsets and lengths are bytes.
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
  /** Requests in flight at most. */
  depth?: number
  /** Bytes of one READ or WRITE at most; the server's limit counts too. */
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

/** What one request without payload asks for at most: its reply comes in a while. */
const MAX_ZEROES = 256 * 2 ** 20
const MAX_STATUS = 2 ** 31
/** Bytes of changes that a client keeps for a server that may go away: what a disk has for a cache. Twice the largest request at least. */
const KEEP_BYTES = 16 << 20

export class NbdClient {
  readonly size: number
  readonly readOnly: boolean
  readonly canFlush: boolean
  readonly canFua: boolean
  readonly canTrim: boolean
  readonly canWriteZeroes: boolean
  readonly canMultiConn: boolean
  /** BLOCK_STATUS tells what is allocated. */
  readonly hasAllocation: boolean
  /** What the server wants offsets and lengths to be multiples of. */
  readonly minBlock: number
  readonly requestSize: number
  /** The server may go away and come back; null if that is the end. */
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

  /** The same for a server that may go away: requests wait until it is back. */
  static connectLasting(address: NbdAddress, options: NbdOptions = {}): Promise<NbdClient> {
    return NbdClient.lasting((more) => openExport(address, { ...options, ...more }), options)
  }

  /** The same by way of something that connects in its own way. */
  static async by(open: Opener, options: NbdOptions = {}): Promise<NbdClient> {
    return new NbdClient(...(await open(options)), options)
  }

  static async lasting(open: Opener, options: NbdOptions = {}): Promise<NbdClient> {
    return new NbdClient(...(await open(options)), options, open)
  }

  /**
   * Fills `buffer` from `offset`. Where the range is not of the server's whole blocks, whole blocks are read and cut.
   * The buffer is the caller's again when the promise is settled, not before.
   */
  async read(buffer: Uint8Array, offset: number, { patience }: Patience = {}): Promise<void> {
    await this.#all(piecesOf(offset, buffer.byteLength, this.requestSize, this.minBlock), (piece) => {
      const into = buffer.subarray(piece.offset - offset, piece.offset - offset + piece.length)
      return this.#readPiece(into, piece, patience)
    })
  }

  /**
   * Writes the buffers one after the other from `offset`, and with `fua` makes them durable. A block of the server's of which
   * they are only a part is read first and written as a whole.
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

  /** Makes the range read as zeroes; with `noHole` it stays allocated. */
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

  /** The range's content is not needed any more. Blocks of the server's of which it is only a part are left alone. */
  async trim(offset: number, length: number): Promise<void> {
    const { from, until } = this.#wholeBlocks(offset, offset + length)
    if (until <= from) return
    await this.#writing(from, until, () =>
      this.#all(piecesOf(from, until - from, MAX_ZEROES, this.minBlock), (piece) =>
        this.#request({ type: nbd.CMD_TRIM, ...piece }),
      ),
    )
  }

  /** Everything that was written is durable; where the server has no FLUSH it is as durable as it gets. */
  async flush(): Promise<void> {
    if (this.canFlush) await this.#request({ type: nbd.CMD_FLUSH })
  }

  /** What the range consists of, in adjacent extents that cover it exactly. Needs `hasAllocation`. */
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
        if (bytes === 0) throw this.#lie('an extent of no bytes')
        const stop = start + bytes
        // Some servers end an extent within one of their blocks ("Block sizes" forbids it): that block counts as data.
        const rest = stop < until ? stop % this.minBlock : 0
        // The last extent may reach further than was asked, and the first may begin before what the caller wants.
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
      if (position === before) throw this.#lie('a block status without progress')
    }
  }

  /** What is in flight fails. May be called more than once. */
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

  /** The server's blocks that are wholly within the range; what is behind the last block of the export counts as a part of it. */
  #wholeBlocks(offset: number, end: number): { from: number; until: number } {
    const from = Math.ceil(offset / this.minBlock) * this.minBlock
    const until = end === this.size ? end : end - (end % this.minBlock)
    return { from, until }
  }

  /** Runs `work` on the blocks that the range touches, alone on them if it is not of whole blocks. */
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

  /** Does all pieces and waits for all, also when one fails: they use the caller's buffers. */
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

  #lie(message: string): VmapipeError {
    const error = new VmapipeError('FAILED', `the NBD server does not keep to the protocol: ${message}`)
    this.#connection.fail(error)
    return error
  }
}

/** A connection to an export that says what it can. */
export async function openExport(address: NbdAddress, options: ConnectionOptions): Promise<[Connection, Terms]> {
  const [connection, terms] = await Connection.open(address, options)
  if ((terms.flags & nbd.FLAG_HAS_FLAGS) !== 0) return [connection, terms]
  await connection.close()
  throw new VmapipeError('FAILED', `${formatNbdAddress(address)}: export '${address.exportName}' without flags`)
}

/** The parts of a range before and behind its whole blocks, if there are any. */
function edgesOf(offset: number, from: number, until: number, end: number): [start: number, end: number][] {
  const edges: [number, number][] = [
    [offset, from],
    [until, end],
  ]
  return edges.filter(([start, stop]) => start < stop)
}
