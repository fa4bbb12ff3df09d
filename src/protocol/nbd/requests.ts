/** Encodes what a client sends: options of the handshake, and requests. Sections are those of doc/proto.md. */

import { IHAVEOPT, REQUEST_BYTES, REQUEST_MAGIC } from './constants.ts'

/**
 * Tells which request a reply belongs to: 64 bits that the server returns. The upper half is the same for all requests of a
 * connection, the lower one counts.
 */
export interface Cookie {
  high: number
  low: number
}

/** "Request message": 28 bytes; a WRITE's payload follows. Offset and length in bytes. */
export function encodeRequest(type: number, flags: number, cookie: Cookie, offset: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(REQUEST_BYTES)
  header.writeUInt32BE(REQUEST_MAGIC, 0)
  header.writeUInt16BE(flags, 4)
  header.writeUInt16BE(type, 6)
  header.writeUInt32BE(cookie.high, 8)
  header.writeUInt32BE(cookie.low, 12)
  header.writeUInt32BE(Math.floor(offset / 2 ** 32), 16)
  header.writeUInt32BE(offset % 2 ** 32, 20)
  header.writeUInt32BE(length, 24)
  return header
}

/** "Fixed newstyle negotiation": magic, option, length, data. */
export function encodeOption(option: number, data: Uint8Array = new Uint8Array()): Buffer {
  const header = Buffer.allocUnsafe(16)
  header.writeBigUInt64BE(IHAVEOPT, 0)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(data.byteLength, 12)
  return Buffer.concat([header, data])
}

/** Data of NBD_OPT_GO and NBD_OPT_INFO: the export's name, and the wanted types of information. */
export function encodeGo(exportName: string, infos: readonly number[]): Buffer {
  const tail = Buffer.alloc(2 + 2 * infos.length)
  tail.writeUInt16BE(infos.length, 0)
  for (const [i, info] of infos.entries()) tail.writeUInt16BE(info, 2 + 2 * i)
  return Buffer.concat([counted(exportName), tail])
}

/** Data of NBD_OPT_SET_META_CONTEXT: the export's name, and queries. */
export function encodeMetaContext(exportName: string, queries: readonly string[]): Buffer {
  const count = Buffer.alloc(4)
  count.writeUInt32BE(queries.length)
  return Buffer.concat([counted(exportName), count, ...queries.map(counted)])
}

/** A string with its length before it, in 32 bits. */
function counted(text: string): Buffer {
  const bytes = Buffer.from(text)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
