/**
 * The client's side of the handshake: "Newstyle negotiation" of doc/proto.md, fixed newstyle with OPT_GO, and the bare EXPORT_NAME
 * of old servers. Refuses messages of more than a few kilobytes.
 */

import { VmapipeError } from '../../core/errors.ts'
import type { Parser } from '../feeder.ts'
import * as nbd from './constants.ts'
import { encodeGo, encodeMetaContext, encodeOption } from './requests.ts'
import { hex, violation } from './violation.ts'

/** What client and server have agreed on. Sizes in bytes. */
export interface Terms {
  size: number
  /** "Transmission flags". */
  flags: number
  /** The server answers a READ in chunks. */
  structured: boolean
  /** Id of base:allocation, or of the context that was asked for. If it is null, BLOCK_STATUS must not be sent. */
  allocationContext: number | null
  minBlock: number
  /** The largest payload of a READ or WRITE. */
  maxPayload: number
}

/** The longest reply that is taken (8 KiB): replies are short texts, names or a few numbers. */
const MAX_REPLY_BYTES = 8192
const MAX_REPLIES = 64
/** The smallest limit of payload that is taken, in bytes. With less, a drive takes too many requests. */
const LEAST_PAYLOAD = 512

/** `context`: what BLOCK_STATUS is to tell. */
export function* negotiate(
  exportName: string,
  send: (bytes: Uint8Array) => void,
  context: string = nbd.BASE_ALLOCATION,
): Parser<Terms> {
  const fixed = yield* greet(send)
  const terms: Terms = {
    size: 0,
    flags: 0,
    structured: false,
    allocationContext: null,
    minBlock: nbd.DEFAULT_MIN_BLOCK,
    maxPayload: nbd.DEFAULT_MAX_PAYLOAD,
  }
  if (!fixed.newstyle) return yield* exportByName(exportName, fixed.noZeroes, send, terms)
  send(encodeOption(nbd.OPT_STRUCTURED_REPLY))
  terms.structured = yield* accepted(nbd.OPT_STRUCTURED_REPLY)
  if (terms.structured) terms.allocationContext = yield* metaContext(exportName, context, send)
  send(encodeOption(nbd.OPT_GO, encodeGo(exportName, [nbd.INFO_BLOCK_SIZE])))
  const gone = yield* go(exportName, terms)
  return gone ? terms : yield* exportByName(exportName, fixed.noZeroes, send, terms)
}

/** The server's greeting and our flags: "Newstyle negotiation". */
function* greet(send: (bytes: Uint8Array) => void): Parser<{ newstyle: boolean; noZeroes: boolean }> {
  const greeting = yield 16
  const magic = greeting.readBigUInt64BE(0)
  if (magic !== nbd.NBDMAGIC) {
    throw new VmapipeError('FAILED', `this is not an NBD server: it begins with ${hex(magic)}`)
  }
  const style = greeting.readBigUInt64BE(8)
  if (style === nbd.OLDSTYLE_MAGIC) {
    throw new VmapipeError('FAILED', 'the NBD server speaks the oldstyle handshake only', {
      hint: 'every server since 2011 speaks newstyle',
    })
  }
  if (style !== nbd.IHAVEOPT) throw violation(`greeting with ${hex(style)}`)
  const flags = (yield 2).readUInt16BE(0)
  const ours = flags & (nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES)
  const answer = Buffer.alloc(4)
  answer.writeUInt32BE(ours)
  send(answer)
  return { newstyle: (ours & nbd.FLAG_FIXED_NEWSTYLE) !== 0, noZeroes: (ours & nbd.FLAG_NO_ZEROES) !== 0 }
}

interface OptionReply {
  type: number
  /** Valid until the next need. */
  data: Buffer
}

/** "Option reply": magic, the option, type, length, data. */
function* optionReply(option: number): Parser<OptionReply> {
  const header = yield 20
  const magic = header.readBigUInt64BE(0)
  const replied = header.readUInt32BE(8)
  const type = header.readUInt32BE(12)
  const length = header.readUInt32BE(16)
  if (magic !== nbd.OPTION_REPLY_MAGIC) throw violation(`an option's reply begins with ${hex(magic)}`)
  if (replied !== option) throw violation(`a reply to option ${replied}, not ${option}`)
  if (length > MAX_REPLY_BYTES) throw violation(`an option's reply of ${length} bytes`)
  return { type, data: yield length }
}

/** Takes all replies to an option up to the ACK or error that ends them. Returns the last one. */
function* replies(option: number, each: (reply: OptionReply) => void): Parser<OptionReply> {
  for (let count = 0; count < MAX_REPLIES; count++) {
    const reply = yield* optionReply(option)
    if (reply.type === nbd.REP_ACK || reply.type >= nbd.REP_FLAG_ERROR) return reply
    each(reply)
  }
  throw violation(`more than ${MAX_REPLIES} replies to option ${option}`)
}

/** Whether the server accepts the option. Any error means no. */
function* accepted(option: number): Parser<boolean> {
  const { type } = yield* replies(option, () => {})
  return type === nbd.REP_ACK
}

/** NBD_OPT_SET_META_CONTEXT: asks for one context alone. */
function* metaContext(exportName: string, context: string, send: (bytes: Uint8Array) => void): Parser<number | null> {
  const option = nbd.OPT_SET_META_CONTEXT
  send(encodeOption(option, encodeMetaContext(exportName, [context])))
  let id: number | null = null
  const last = yield* replies(option, ({ type, data }) => {
    if (type !== nbd.REP_META_CONTEXT || data.length < 4) throw violation(`meta context reply ${type}`)
    if (data.toString('utf8', 4) === context) id = data.readUInt32BE(0)
  })
  return last.type === nbd.REP_ACK ? id : null
}

/** Takes the replies to NBD_OPT_GO. False if the server does not know this option. */
function* go(exportName: string, terms: Terms): Parser<boolean> {
  let described = false
  const last = yield* replies(nbd.OPT_GO, ({ type, data }) => {
    if (type !== nbd.REP_INFO || data.length < 2) throw violation(`reply ${type} to OPT_GO`)
    const info = data.readUInt16BE(0)
    if (info === nbd.INFO_EXPORT) {
      if (data.length !== 12) throw violation(`export information of ${data.length} bytes`)
      setExport(terms, data.subarray(2))
      described = true
    } else if (info === nbd.INFO_BLOCK_SIZE) {
      if (data.length !== 14) throw violation(`block size information of ${data.length} bytes`)
      setBlockSizes(terms, data)
    }
  })
  if (last.type === nbd.REP_ACK) {
    if (!described) throw violation('OPT_GO without the size of the export')
    if (terms.maxPayload < Math.min(LEAST_PAYLOAD, terms.size))
      throw violation(`at most ${terms.maxPayload} bytes in a request`)
    return true
  }
  if (last.type === nbd.REP_ERR_UNSUP) return false
  throw refused(exportName, last)
}

function refused(exportName: string, { type, data }: OptionReply): VmapipeError {
  const name = exportName === '' ? 'default export' : `export '${exportName}'`
  const text = data.toString('utf8', 0, Math.min(data.length, nbd.MAX_STRING)).trim()
  const said = text === '' ? '' : `: ${text}`
  if (type === nbd.REP_ERR_UNKNOWN) return new VmapipeError('FAILED', `the NBD server has no ${name}${said}`)
  if (type === nbd.REP_ERR_TLS_REQD) {
    return new VmapipeError('FAILED', `the NBD server insists on TLS, which is not supported yet${said}`)
  }
  return new VmapipeError(
    'FAILED',
    `the NBD server refuses the ${name} (error ${hex(type - nbd.REP_FLAG_ERROR)})${said}`,
  )
}

/** NBD_OPT_EXPORT_NAME: the server can refuse it only by closing the connection. */
function* exportByName(
  exportName: string,
  noZeroes: boolean,
  send: (bytes: Uint8Array) => void,
  terms: Terms,
): Parser<Terms> {
  send(encodeOption(nbd.OPT_EXPORT_NAME, Buffer.from(exportName)))
  setExport(terms, yield 10)
  if (!noZeroes) yield 124
  return terms
}

/** Size in 64 bits, transmission flags in 16. */
function setExport(terms: Terms, data: Buffer): void {
  const size = data.readBigUInt64BE(0)
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw violation(`an export of ${size} bytes`)
  terms.size = Number(size)
  terms.flags = data.readUInt16BE(8)
}

/** "Size constraints": the minimum is a power of two up to 64 KiB; the maximum holds for payload. */
function setBlockSizes(terms: Terms, data: Buffer): void {
  const [min, preferred, max] = [data.readUInt32BE(2), data.readUInt32BE(6), data.readUInt32BE(10)]
  const sane =
    min > 0 && min <= 65536 && (min & (min - 1)) === 0 && max >= min && (max % min === 0 || max === 2 ** 32 - 1)
  if (!sane) throw violation(`block sizes ${min}, ${preferred}, ${max}`)
  terms.minBlock = min
  terms.maxPayload = Math.min(max, nbd.DEFAULT_MAX_PAYLOAD)
}
