/**
 * An NBD export, as a client sees it: reads and writes of any size, cut to what the server takes, many in flight.
 * Offsets and lengths are bytes.
 */

import { VmapipeError } from '../../core/errors.ts'
import { Connection, type ConnectionOptions, type Request } from './connection.ts'
import * as nbd from './constants.ts'
import type { Agreement } from './handshake.ts'
import { cutBuffers, type Piece, pieces } from './pieces.ts'
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
export interface NbdExtent {
  offset: number
  length: number
  flags: number
}

/** What one request without payload asks for at most: its reply comes in a while. */
const MAX_ZEROES = 256 * 2 ** 20
const MAX_STATUS = 2 ** 31

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
  readonly #connection: Connection
  readonly #slots: Slots

  private constructor(connection: Connection, agreement: Agreement, { depth = 16, requestSize = 2 ** 20 }: NbdOptions) {
    const has = (flag: number) => (agreement.flags & flag) !== 0
    this.#connection = connection
    this.#slots = new Slots(depth)
    this.size = agreement.size
    this.readOnly = has(nbd.FLAG_READ_ONLY)
    this.canFlush = has(nbd.FLAG_SEND_FLUSH)
    this.canFua = has(nbd.FLAG_SEND_FUA)
    this.canTrim = has(nbd.FLAG_SEND_TRIM)
    this.canWriteZeroes = has(nbd.FLAG_SEND_WRITE_ZEROES)
    this.canMultiConn = has(nbd.FLAG_CAN_MULTI_CONN)
    this.hasAllocation = agreement.allocationContext !== null
    this.minBlock = agreement.minBlock
    this.requestSize = Math.max(agreement.minBlock, Math.min(requestSize, agreement.maxPayload))
  }

  static async connect(address: NbdAddress, options: NbdOptions = {}): Promise<NbdClient> {
    const [connection, agreement] = await Connection.open(address, options)
    const { exportName } = address
    if ((agreement.flags & nbd.FLAG_HAS_FLAGS) === 0) {
      await connection.close()
      throw new VmapipeError('FAILED', `${formatNbdAddress(address)}: export '${exportName}' without flags`)
    }
    return new NbdClient(connection, agreement, options)
  }

  /**
   * Fills `buffer` from `offset`. Where the range is not of the server's whole blocks, whole blocks are read and cut.
   * The buffer is the caller's again when the promise is settled, not before.
   */
  async read(buffer: Uint8Array, offset: number): Promise<void> {
    await this.#all(pieces(offset, buffer.byteLength, this.requestSize, this.minBlock), (piece) => {
      const into = buffer.subarray(piece.offset - offset, piece.offset - offset + piece.length)
      return this.#readPiece(into, piece)
    })
  }

  /** Writes the buffers one after the other from `offset`, and with `fua` makes them durable. */
  async write(buffers: readonly Uint8Array[], offset: number, { fua = false } = {}): Promise<void> {
    const flags = fua ? nbd.CMD_FLAG_FUA : 0
    await this.#all(cutBuffers(buffers, offset, this.requestSize, this.minBlock), ({ payload, ...piece }) =>
      this.#request({ type: nbd.CMD_WRITE, flags, payload, ...piece }),
    )
  }

  /** Makes the range read as zeroes; with `noHole` it stays allocated. */
  async writeZeroes(offset: number, length: number, { fua = false, noHole = false } = {}): Promise<void> {
    const flags = (fua ? nbd.CMD_FLAG_FUA : 0) | (noHole ? nbd.CMD_FLAG_NO_HOLE : 0)
    await this.#all(pieces(offset, length, MAX_ZEROES, this.minBlock), (piece) =>
      this.#request({ type: nbd.CMD_WRITE_ZEROES, flags, ...piece }),
    )
  }

  /** The range's content is not needed any more. */
  async trim(offset: number, length: number): Promise<void> {
    await this.#all(pieces(offset, length, MAX_ZEROES, this.minBlock), (piece) =>
      this.#request({ type: nbd.CMD_TRIM, ...piece }),
    )
  }

  /** Everything that was written is durable; where the server has no FLUSH it is as durable as it gets. */
  async flush(): Promise<void> {
    if (this.canFlush) await this.#request({ type: nbd.CMD_FLUSH })
  }

  /** What the range consists of, in adjacent extents that cover it exactly. Needs `hasAllocation`. */
  async *extents(offset: number, length: number): AsyncGenerator<NbdExtent> {
    const end = offset + length
    let position = offset
    while (position < end) {
      const from = position - (position % this.minBlock)
      const until = Math.min(Math.ceil(end / this.minBlock) * this.minBlock, this.size, from + MAX_STATUS)
      const { extents } = await this.#request({ type: nbd.CMD_BLOCK_STATUS, offset: from, length: until - from })
      let start = from
      for (const extent of extents!) {
        // The last extent may reach further than was asked, and the first may begin before what the caller wants.
        const next = Math.min(start + extent.length, end)
        if (extent.length === 0) throw this.#lie('an extent of no bytes')
        if (next > position) yield { offset: position, length: next - position, flags: extent.flags }
        position = Math.max(position, next)
        start += extent.length
        if (position >= end) break
      }
      if (start <= from) throw this.#lie('a block status without progress')
    }
  }

  /** What is in flight fails. May be called more than once. */
  async close(): Promise<void> {
    this.#slots.close(new VmapipeError('FAILED', 'the connection was closed'))
    await this.#connection.close()
  }

  async #readPiece(into: Uint8Array, { offset, length }: Piece): Promise<void> {
    const from = offset - (offset % this.minBlock)
    const until = Math.min(Math.ceil((offset + length) / this.minBlock) * this.minBlock, this.size)
    if (from === offset && until === offset + length) {
      await this.#request({ type: nbd.CMD_READ, offset, length, into })
      return
    }
    const blocks = Buffer.allocUnsafe(until - from)
    await this.#request({ type: nbd.CMD_READ, offset: from, length: until - from, into: blocks })
    into.set(blocks.subarray(offset - from, offset - from + length))
  }

  async #request(request: Request): Promise<Pending> {
    const wait = this.#slots.enter()
    if (wait) await wait
    try {
      return await this.#connection.send(request)
    } finally {
      this.#slots.leave()
    }
  }

  /** Does all pieces and waits for all, also when one fails: they use the caller's buffers. */
  async #all<P>(list: P[], work: (piece: P) => Promise<unknown>): Promise<void> {
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
