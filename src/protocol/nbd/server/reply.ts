/** Encodes replies: "Simple reply message" and "Structured reply chunk message" of doc/proto.md. */

import * as nbd from '../constants.ts'
import { ALLOCATION_ID } from './negotiation.ts'
import type { Request } from './request.ts'

/** Space before the payload of a READ for the longest header, so that both go out as one buffer. It keeps the payload aligned. */
export const HEADROOM = 64

/** Bytes of an OFFSET_DATA chunk before its payload. */
const DATA_HEADER_BYTES = nbd.CHUNK_HEADER_BYTES + 8

/** "Simple reply message" without payload; `errno` 0 is success. */
export function simpleReply(request: Request, errno: number): Buffer {
  const reply = Buffer.allocUnsafe(nbd.SIMPLE_REPLY_BYTES)
  putSimple(reply, 0, request, errno)
  return reply
}

/**
 * The reply to a READ whose `length` bytes are at HEADROOM in `buffer`. Puts the header right before them, and returns a view of
 * both. If the reply is in chunks, this is one chunk: the last one of its reply, or one of several.
 */
export function readReply(request: Request, buffer: Buffer, structured: boolean, isLast = true): Buffer {
  const end = HEADROOM + request.length
  if (!structured) {
    putSimple(buffer, HEADROOM - nbd.SIMPLE_REPLY_BYTES, request, 0)
    return buffer.subarray(HEADROOM - nbd.SIMPLE_REPLY_BYTES, end)
  }
  const start = HEADROOM - DATA_HEADER_BYTES
  putChunk(buffer, start, request, nbd.REPLY_TYPE_OFFSET_DATA, 8 + request.length, isLast)
  buffer.writeUInt32BE(Math.floor(request.offset / 2 ** 32), start + nbd.CHUNK_HEADER_BYTES)
  buffer.writeUInt32BE(request.offset % 2 ** 32, start + nbd.CHUNK_HEADER_BYTES + 4)
  return buffer.subarray(start, end)
}

/** NBD_REPLY_TYPE_NONE: for a READ of no bytes, as a chunk of data must not be empty. */
export function emptyChunk(request: Request): Buffer {
  return chunk(request, nbd.REPLY_TYPE_NONE, 0)
}

/** NBD_REPLY_TYPE_ERROR: errno and a text, which is left empty, because a guest shall not learn about the host's disks. */
export function errorChunk(request: Request, errno: number): Buffer {
  const reply = chunk(request, nbd.REPLY_TYPE_ERROR, 6)
  reply.writeUInt32BE(errno, nbd.CHUNK_HEADER_BYTES)
  reply.writeUInt16BE(0, nbd.CHUNK_HEADER_BYTES + 4)
  return reply
}

/** NBD_REPLY_TYPE_BLOCK_STATUS: the context's id, then length and flags of each extent, in pairs. */
export function statusChunk(request: Request, pairs: readonly number[]): Buffer {
  const reply = chunk(request, nbd.REPLY_TYPE_BLOCK_STATUS, 4 + 4 * pairs.length)
  let position = reply.writeUInt32BE(ALLOCATION_ID, nbd.CHUNK_HEADER_BYTES)
  for (const number of pairs) position = reply.writeUInt32BE(number, position)
  return reply
}

/** The only chunk of its reply, with space for `length` bytes of payload. */
function chunk(request: Request, type: number, length: number): Buffer {
  const reply = Buffer.allocUnsafe(nbd.CHUNK_HEADER_BYTES + length)
  putChunk(reply, 0, request, type, length)
  return reply
}

function putChunk(into: Buffer, at: number, request: Request, type: number, length: number, isLast = true): void {
  into.writeUInt32BE(nbd.STRUCTURED_REPLY_MAGIC, at)
  into.writeUInt16BE(isLast ? nbd.REPLY_FLAG_DONE : 0, at + 4)
  into.writeUInt16BE(type, at + 6)
  into.writeUInt32BE(request.cookieHigh, at + 8)
  into.writeUInt32BE(request.cookieLow, at + 12)
  into.writeUInt32BE(length, at + 16)
}

function putSimple(into: Buffer, at: number, request: Request, errno: number): void {
  into.writeUInt32BE(nbd.SIMPLE_REPLY_MAGIC, at)
  into.writeUInt32BE(errno, at + 4)
  into.writeUInt32BE(request.cookieHigh, at + 8)
  into.writeUInt32BE(request.cookieLow, at + 12)
}

const ERRNOS: Record<string, number> = {
  EPERM: nbd.EPERM,
  EACCES: nbd.EPERM,
  EROFS: nbd.EPERM,
  ENOMEM: nbd.ENOMEM,
  EINVAL: nbd.EINVAL,
  ENOSPC: nbd.ENOSPC,
  EDQUOT: nbd.ENOSPC,
  EFBIG: nbd.ENOSPC,
  EOVERFLOW: nbd.EOVERFLOW,
  ENOTSUP: nbd.ENOTSUP,
  EOPNOTSUPP: nbd.ENOTSUP,
  ESHUTDOWN: nbd.ESHUTDOWN,
}

/** The depth to which causes of causes are followed. */
const MAX_DEPTH = 5

/** The "Error values" of doc/proto.md for an error of a disk; EIO if the error does not say its kind. */
export function errnoOf(error: unknown): number {
  let current = error as { code?: unknown; cause?: unknown } | null | undefined
  for (let depth = 0; depth < MAX_DEPTH && typeof current === 'object' && current !== null; depth++) {
    const errno = typeof current.code === 'string' ? ERRNOS[current.code] : undefined
    if (errno !== undefined) return errno
    current = current.cause as typeof current
  }
  return nbd.EIO
}
