/**
 * The replies of a server after the handshake: "Simple reply message" and "Structured reply chunk message". Payload goes directly
 * into the buffer of its request.
 */

import { MAX_NEED, type Parser } from '../feeder.ts'
import * as nbd from './constants.ts'
import { Coverage } from './coverage.ts'
import type { Cookie } from './requests.ts'
import { hex, violation } from './violation.ts'

/** An extent of a BLOCK_STATUS reply: bytes, and flags of base:allocation. */
interface StatusExtent {
  length: number
  flags: number
}

/** A request that waits for its reply. */
export interface Pending {
  readonly type: number
  readonly offset: number
  readonly length: number
  /** Buffer of `length` bytes for the payload of a READ. */
  readonly into: Uint8Array | null
  /** The parts of a READ that have come. */
  coverage: Coverage | null
  /** The extents of a BLOCK_STATUS that have come. */
  extents: StatusExtent[] | null
  /** The first error that the server reported. */
  error: { errno: number; message: string } | null
}

interface Requests {
  /** The request that waits under this cookie. */
  find(cookie: Cookie): Pending | undefined
  /** The request has been answered, with or without an error. Its cookie is free. */
  done(request: Pending, cookie: Cookie): void
}

/** The most extents that one reply may have. Servers in use send an eighth of this at most. */
const MAX_EXTENTS = 2 ** 20

/** Parses replies for ever. `context`: the id of base:allocation. */
export function* parseReplies(requests: Requests, structured: boolean, context: number | null): Parser<never> {
  for (;;) {
    // The header of a simple reply is shorter than that of a chunk, and has another magic number.
    const start = yield nbd.SIMPLE_REPLY_BYTES
    const magic = start.readUInt32BE(0)
    const cookie = { high: start.readUInt32BE(8), low: start.readUInt32BE(12) }
    const request = magic === nbd.SIMPLE_REPLY_MAGIC || structured ? requests.find(cookie) : undefined
    if (magic !== nbd.SIMPLE_REPLY_MAGIC && !(structured && magic === nbd.STRUCTURED_REPLY_MAGIC)) {
      throw violation(`a reply begins with ${hex(magic)}`)
    }
    if (request === undefined) throw violation('a reply to a request that was not made')
    if (magic === nbd.SIMPLE_REPLY_MAGIC) {
      yield* simpleReply(request, start.readUInt32BE(4), structured)
      requests.done(request, cookie)
    } else {
      const [flags, type] = [start.readUInt16BE(4), start.readUInt16BE(6)]
      const length = (yield nbd.CHUNK_HEADER_BYTES - nbd.SIMPLE_REPLY_BYTES).readUInt32BE(0)
      yield* chunk(request, type, length, context)
      if (flags & nbd.REPLY_FLAG_DONE) {
        checkComplete(request)
        requests.done(request, cookie)
      }
    }
  }
}

function* simpleReply(request: Pending, errno: number, structured: boolean): Parser {
  if (errno !== 0) {
    request.error = { errno, message: '' }
    return
  }
  if (structured && (request.type === nbd.CMD_READ || request.type === nbd.CMD_BLOCK_STATUS)) {
    throw violation('a simple reply although chunks were agreed on')
  }
  if (request.into !== null) yield request.into
}

function* chunk(request: Pending, type: number, length: number, context: number | null): Parser {
  if (type & nbd.REPLY_TYPE_FLAG_ERROR) yield* errorChunk(request, type, length)
  else if (type === nbd.REPLY_TYPE_NONE && length === 0) return
  else if (request.into !== null && type === nbd.REPLY_TYPE_OFFSET_DATA) yield* dataChunk(request, request.into, length)
  else if (request.into !== null && type === nbd.REPLY_TYPE_OFFSET_HOLE) yield* holeChunk(request, request.into, length)
  else if (request.type === nbd.CMD_BLOCK_STATUS && type === nbd.REPLY_TYPE_BLOCK_STATUS) {
    yield* statusChunk(request, length, context)
  } else throw violation(`a chunk of type ${type} and ${length} bytes in reply to command ${request.type}`)
}

/** NBD_REPLY_TYPE_OFFSET_DATA: the offset in 64 bits, and the bytes. */
function* dataChunk(request: Pending, into: Uint8Array, length: number): Parser {
  if (length < 9) throw violation(`a data chunk of ${length} bytes`)
  const start = within(request, (yield 8).readBigUInt64BE(0))
  cover(request, start, start + length - 8)
  yield into.subarray(start, start + length - 8)
}

/** NBD_REPLY_TYPE_OFFSET_HOLE: the offset in 64 bits, and the number of zeroes in 32. */
function* holeChunk(request: Pending, into: Uint8Array, length: number): Parser {
  if (length !== 12) throw violation(`a hole chunk of ${length} bytes`)
  const payload = yield 12
  const start = within(request, payload.readBigUInt64BE(0))
  const end = start + payload.readUInt32BE(8)
  cover(request, start, end)
  into.fill(0, start, end)
}

/** Where a chunk begins within its request. */
function within(request: Pending, offset: bigint): number {
  const start = offset - BigInt(request.offset)
  if (start < 0n || start >= BigInt(request.length))
    throw violation(`a chunk at byte ${offset}, outside of its request`)
  return Number(start)
}

function cover(request: Pending, start: number, end: number): void {
  request.coverage ??= new Coverage(request.length)
  request.coverage.add(start, end)
}

/** NBD_REPLY_TYPE_ERROR and any other error chunk: errno, a text with its length before it, and perhaps more. */
function* errorChunk(request: Pending, type: number, length: number): Parser {
  if (length < 6 || length > MAX_NEED) throw violation(`an error chunk of ${length} bytes`)
  const payload = yield length
  const errno = payload.readUInt32BE(0)
  const textLength = payload.readUInt16BE(4)
  if (errno === 0) throw violation('an error chunk without an error')
  if (6 + textLength > length) throw violation(`an error chunk (type ${type}) whose text is longer than itself`)
  request.error ??= { errno, message: payload.toString('utf8', 6, 6 + Math.min(textLength, nbd.MAX_STRING)) }
}

/** NBD_REPLY_TYPE_BLOCK_STATUS: the context's id, then length and flags of each extent. */
function* statusChunk(request: Pending, length: number, context: number | null): Parser {
  const count = (length - 4) / 8
  if (!Number.isInteger(count) || count < 1 || count > MAX_EXTENTS) throw violation(`a block status of ${length} bytes`)
  const id = (yield 4).readUInt32BE(0)
  if (id !== context) throw violation(`a block status for context ${id}`)
  if (request.extents !== null) throw violation('two block statuses for one request')
  request.extents = []
  for (let left = count; left > 0; ) {
    const piece = Math.min(left, MAX_NEED / 8)
    const bytes = yield piece * 8
    for (let i = 0; i < piece; i++) {
      request.extents.push({ length: bytes.readUInt32BE(i * 8), flags: bytes.readUInt32BE(i * 8 + 4) })
    }
    left -= piece
  }
}

/** Checks after the last chunk that all of the reply has come, unless there was an error. */
function checkComplete(request: Pending): void {
  if (request.error !== null) return
  if (request.into !== null && !request.coverage?.isComplete) throw violation('the end of a reply that is not complete')
  if (request.type === nbd.CMD_BLOCK_STATUS && request.extents === null)
    throw violation('a block status without extents')
}
