/** Decodes requests, and checks them before anything is done, for a server. Sections are those of doc/proto.md. */

import * as nbd from '../constants.ts'
import { isReadOnly } from './export.ts'
import { type Agreement, MAX_PAYLOAD } from './negotiation.ts'
import { ClientFault } from './parsing.ts'

export interface Request {
  type: number
  flags: number
  /** 64 bits of the client's, which the reply returns. */
  cookieHigh: number
  cookieLow: number
  /** Exact up to 2^53, which no disk reaches. */
  offset: number
  length: number
}

/** "Request message": 28 bytes. */
export function decodeRequest(header: Buffer): Request {
  const magic = header.readUInt32BE(0)
  if (magic !== nbd.REQUEST_MAGIC) throw new ClientFault(`a request begins with ${magic}`)
  return {
    type: header.readUInt16BE(6),
    flags: header.readUInt16BE(4),
    cookieHigh: header.readUInt32BE(8),
    cookieLow: header.readUInt32BE(12),
    offset: header.readUInt32BE(16) * 2 ** 32 + header.readUInt32BE(20),
    length: header.readUInt32BE(24),
  }
}

/** Bytes of payload of the request or of its reply. */
export function payloadOf({ type, length }: Request): number {
  return type === nbd.CMD_READ || type === nbd.CMD_WRITE ? length : 0
}

/** "Command flags" that each type may have. */
const FLAGS: Record<number, number> = {
  [nbd.CMD_READ]: nbd.CMD_FLAG_DF | nbd.CMD_FLAG_FUA,
  [nbd.CMD_WRITE]: nbd.CMD_FLAG_FUA,
  [nbd.CMD_FLUSH]: nbd.CMD_FLAG_FUA,
  [nbd.CMD_TRIM]: nbd.CMD_FLAG_FUA,
  [nbd.CMD_CACHE]: nbd.CMD_FLAG_FUA,
  [nbd.CMD_WRITE_ZEROES]: nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO,
  [nbd.CMD_BLOCK_STATUS]: nbd.CMD_FLAG_REQ_ONE | nbd.CMD_FLAG_FUA,
}

/** The error of the protocol for this request ("Request types", "Error values"), or 0 if the request may be done. */
export function errorOf(request: Request, agreement: Agreement): number {
  const { type, flags, offset, length } = request
  const allowed = FLAGS[type]
  if (allowed === undefined || (flags & ~allowed) !== 0) return nbd.EINVAL
  if (type === nbd.CMD_FLUSH) return 0
  if (isWrite(type) && isReadOnly(agreement.entry)) return nbd.EPERM
  if (payloadOf(request) > MAX_PAYLOAD) return flags & nbd.CMD_FLAG_DF ? nbd.EOVERFLOW : nbd.EINVAL
  if (offset + length > agreement.entry.disk.size) return pastTheEnd(type)
  if (type === nbd.CMD_CACHE && !agreement.entry.disk.prefetch) return nbd.EINVAL
  if (type === nbd.CMD_BLOCK_STATUS && (!agreement.allocation || length === 0)) return nbd.EINVAL
  if ((flags & nbd.CMD_FLAG_DF) !== 0 && !agreement.structured) return nbd.EINVAL
  return 0
}

function isWrite(type: number): boolean {
  return type === nbd.CMD_WRITE || type === nbd.CMD_TRIM || type === nbd.CMD_WRITE_ZEROES
}

function pastTheEnd(type: number): number {
  return type === nbd.CMD_WRITE || type === nbd.CMD_WRITE_ZEROES ? nbd.ENOSPC : nbd.EINVAL
}
