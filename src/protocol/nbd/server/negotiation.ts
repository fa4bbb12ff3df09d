/**
 * The server's side of the handshake: "Newstyle negotiation" and "Option haggling" of doc/proto.md, fixed newstyle.
 * The number of options that a client may send and their lengths are bounded.
 */

import { MAX_NEED, type Parser } from '../../feeder.ts'
import * as nbd from '../constants.ts'
import { type Exports, type NbdExport, transmissionFlags } from './export.ts'
import * as options from './options.ts'
import { ClientFault, drain } from './parsing.ts'

/** The outcome of the handshake. */
export interface Agreement {
  entry: NbdExport
  /** A READ and errors are answered in chunks. */
  structured: boolean
  /** The client may send BLOCK_STATUS. */
  allocation: boolean
}

/** The id of base:allocation on the wire. */
export const ALLOCATION_ID = 1

/** "Size constraints", in bytes: any alignment is taken, whole pages are best. */
const MIN_BLOCK = 1
const PREFERRED_BLOCK = 4096
export const MAX_PAYLOAD = nbd.DEFAULT_MAX_PAYLOAD

const MAX_OPTIONS = 256
/** The data of a too long option is thrown away. More than this (1 MiB) ends the connection. */
const MAX_OPTION_BYTES = 2 ** 20

const UNKNOWN_EXPORT = 'there is no export of this name'

export class Negotiation {
  readonly #exports: Exports
  readonly #send: (bytes: Uint8Array) => void
  #noZeroes = false
  #structured = false
  /** The export for which base:allocation was chosen. */
  #allocationOf: NbdExport | null = null

  constructor(exports: Exports, send: (bytes: Uint8Array) => void) {
    this.#exports = exports
    this.#send = send
  }

  /** Runs the handshake. Null if the client ends it in order. */
  *run(): Parser<Agreement | null> {
    yield* this.#greet()
    for (let count = 0; count < MAX_OPTIONS; count++) {
      const header = yield 16
      if (header.readBigUInt64BE(0) !== nbd.IHAVEOPT) throw new ClientFault('an option without its magic number')
      const option = header.readUInt32BE(8)
      const length = header.readUInt32BE(12)
      if (length > MAX_OPTION_BYTES) throw new ClientFault(`an option of ${length} bytes`)
      if (option === nbd.OPT_EXPORT_NAME) return yield* this.#exportName(length)
      if (length > MAX_NEED) {
        yield* drain(length)
        this.#refuse(option, nbd.REP_ERR_TOO_BIG, `an option has at most ${MAX_NEED} bytes`)
        continue
      }
      const outcome = this.#option(option, yield length)
      if (outcome !== undefined) return outcome
    }
    throw new ClientFault(`more than ${MAX_OPTIONS} options`)
  }

  *#greet(): Parser {
    const greeting = Buffer.allocUnsafe(18)
    greeting.writeBigUInt64BE(nbd.NBDMAGIC, 0)
    greeting.writeBigUInt64BE(nbd.IHAVEOPT, 8)
    greeting.writeUInt16BE(nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES, 16)
    this.#send(greeting)
    const flags = (yield 4).readUInt32BE(0)
    if ((flags & ~(nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES)) !== 0) {
      throw new ClientFault(`unknown client flags ${flags}`)
    }
    this.#noZeroes = (flags & nbd.FLAG_NO_ZEROES) !== 0
  }

  /** NBD_OPT_EXPORT_NAME: there is no reply that refuses it. */
  *#exportName(length: number): Parser<Agreement> {
    if (length > nbd.MAX_STRING) throw new ClientFault(`an export name of ${length} bytes`)
    const name = (yield length).toString()
    const entry = this.#exports.find(name)
    if (!entry) throw new ClientFault(UNKNOWN_EXPORT)
    this.#send(options.encodeExport(entry.disk.size, transmissionFlags(entry, this.#structured)).subarray(2))
    if (!this.#noZeroes) this.#send(Buffer.alloc(124))
    return this.#agree(entry)
  }

  #agree(entry: NbdExport): Agreement {
    return { entry, structured: this.#structured, allocation: this.#allocationOf === entry }
  }

  /** Answers one option. If it returns something, the handshake ends with that. */
  #option(option: number, data: Buffer): Agreement | null | undefined {
    try {
      switch (option) {
        case nbd.OPT_ABORT:
          this.#reply(option, nbd.REP_ACK)
          return null
        case nbd.OPT_LIST:
          return this.#list(data)
        case nbd.OPT_STRUCTURED_REPLY:
          mustBeEmpty(data)
          this.#structured = true
          this.#reply(option, nbd.REP_ACK)
          return undefined
        case nbd.OPT_INFO:
        case nbd.OPT_GO:
          return this.#info(option, options.decodeGo(data))
        case nbd.OPT_SET_META_CONTEXT:
          // "Metadata querying": a new request drops the earlier selection, also if it fails or cannot be read.
          this.#allocationOf = null
          return this.#contexts(option, options.decodeContexts(data))
        case nbd.OPT_LIST_META_CONTEXT:
          return this.#contexts(option, options.decodeContexts(data))
        default:
          this.#refuse(option, nbd.REP_ERR_UNSUP, 'this server does not know the option')
      }
    } catch (error) {
      if (!(error instanceof options.BadOption)) throw error
      this.#refuse(option, nbd.REP_ERR_INVALID, error.message)
    }
    return undefined
  }

  #list(data: Buffer): undefined {
    mustBeEmpty(data)
    for (const { name, description = '' } of this.#exports) {
      this.#reply(nbd.OPT_LIST, nbd.REP_SERVER, options.encodeServer(name, description))
    }
    this.#reply(nbd.OPT_LIST, nbd.REP_ACK)
  }

  #info(option: number, { name, infos }: options.GoRequest): Agreement | undefined {
    const entry = this.#exports.find(name)
    if (!entry) {
      this.#refuse(option, nbd.REP_ERR_UNKNOWN, UNKNOWN_EXPORT)
      return undefined
    }
    const { size } = entry.disk
    const tell = (data: Buffer) => this.#reply(option, nbd.REP_INFO, data)
    tell(options.encodeExport(size, transmissionFlags(entry, this.#structured)))
    const wanted = new Set(infos)
    if (wanted.has(nbd.INFO_NAME)) tell(options.encodeInfoText(nbd.INFO_NAME, entry.name))
    if (wanted.has(nbd.INFO_DESCRIPTION) && entry.description) {
      tell(options.encodeInfoText(nbd.INFO_DESCRIPTION, entry.description))
    }
    if (wanted.has(nbd.INFO_BLOCK_SIZE)) {
      const { minBlock = MIN_BLOCK } = entry.disk
      tell(options.encodeBlockSizes(minBlock, Math.max(minBlock, PREFERRED_BLOCK), MAX_PAYLOAD))
    }
    this.#reply(option, nbd.REP_ACK)
    return option === nbd.OPT_GO ? this.#agree(entry) : undefined
  }

  /** "Metadata querying": the only context is base:allocation. */
  #contexts(option: number, { name, queries }: options.ContextRequest): undefined {
    if (!this.#structured) throw new options.BadOption('structured replies come first')
    const entry = this.#exports.find(name)
    if (!entry) return this.#refuse(option, nbd.REP_ERR_UNKNOWN, UNKNOWN_EXPORT)
    const listing = option === nbd.OPT_LIST_META_CONTEXT
    const chosen = listing
      ? queries.length === 0 || queries.some((query) => query === 'base:' || query === nbd.BASE_ALLOCATION)
      : queries.includes(nbd.BASE_ALLOCATION)
    if (!listing) this.#allocationOf = chosen ? entry : null
    if (chosen) {
      const id = listing ? 0 : ALLOCATION_ID
      this.#reply(option, nbd.REP_META_CONTEXT, options.encodeContext(id, nbd.BASE_ALLOCATION))
    }
    this.#reply(option, nbd.REP_ACK)
  }

  #reply(option: number, type: number, data?: Uint8Array): void {
    this.#send(options.encodeOptionReply(option, type, data))
  }

  #refuse(option: number, error: number, text: string): undefined {
    this.#reply(option, error, Buffer.from(text))
  }
}

function mustBeEmpty(data: Buffer): void {
  if (data.length > 0) throw new options.BadOption('the option has no data')
}
