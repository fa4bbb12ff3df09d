/** Decodes the options of the handshake and encodes the replies, for a server. Sections are those of doc/proto.md. */

import * as nbd from '../constants.ts'

/** The data of an option is wrong: NBD_REP_ERR_INVALID. */
export class BadOption extends Error {}

/** Data of NBD_OPT_INFO and NBD_OPT_GO. */
export interface GoRequest {
  name: string
  infos: number[]
}

/** Data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export interface ContextRequest {
  name: string
  queries: string[]
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeName(bytes: Uint8Array): string {
  if (bytes.byteLength > nbd.MAX_STRING) throw new BadOption(`a string has at most ${nbd.MAX_STRING} bytes`)
  try {
    return utf8.decode(bytes)
  } catch {
    throw new BadOption('a string is not UTF-8')
  }
}

/** "Option types", NBD_OPT_INFO: the name with its length before it, and counted information types. */
export function decodeGo(data: Buffer): GoRequest {
  const fields = new Fields(data)
  const name = fields.text()
  const infos = Array.from({ length: fields.count(2, 2) }, () => fields.uint16())
  fields.end()
  return { name, infos }
}

/** "Option types", NBD_OPT_LIST_META_CONTEXT: the export's name and counted queries, each with its length before it. */
export function decodeContexts(data: Buffer): ContextRequest {
  const fields = new Fields(data)
  const name = fields.text()
  const queries = Array.from({ length: fields.count(4, 4) }, () => fields.text())
  fields.end()
  return { name, queries }
}

class Fields {
  readonly #data: Buffer
  #position = 0

  constructor(data: Buffer) {
    this.#data = data
  }

  uint16(): number {
    return this.#advance(2).readUInt16BE(0)
  }

  text(): string {
    return decodeName(this.#advance(this.#advance(4).readUInt32BE(0)))
  }

  /** The number of items that follow. Refuses more than fit into the data if each has `least` bytes. */
  count(bytes: 2 | 4, least: number): number {
    const count = this.#advance(bytes).readUIntBE(0, bytes)
    if (count * least > this.#data.length - this.#position) throw new BadOption('the data is too short for its counts')
    return count
  }

  end(): void {
    if (this.#position !== this.#data.length) throw new BadOption('the data is longer than it says')
  }

  #advance(bytes: number): Buffer {
    if (bytes > this.#data.length - this.#position) throw new BadOption('the data is too short')
    this.#position += bytes
    return this.#data.subarray(this.#position - bytes, this.#position)
  }
}

/** "Option reply": magic, the option, type, length, data. */
export function encodeOptionReply(option: number, type: number, data: Uint8Array = new Uint8Array()): Buffer {
  const header = Buffer.allocUnsafe(20)
  header.writeBigUInt64BE(nbd.OPTION_REPLY_MAGIC, 0)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(type, 12)
  header.writeUInt32BE(data.byteLength, 16)
  return Buffer.concat([header, data])
}

/** Data of NBD_REP_SERVER: the name with its length before it, and the description. */
export function encodeServer(name: string, description: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(Buffer.byteLength(name))
  return Buffer.concat([length, Buffer.from(name), Buffer.from(description)])
}

/** Data of NBD_REP_INFO about size and flags; without the type it ends NBD_OPT_EXPORT_NAME. */
export function encodeExport(size: number, flags: number): Buffer {
  const data = Buffer.alloc(12)
  data.writeUInt16BE(nbd.INFO_EXPORT, 0)
  data.writeBigUInt64BE(BigInt(size), 2)
  data.writeUInt16BE(flags, 10)
  return data
}

export function encodeBlockSizes(minimum: number, preferred: number, maximum: number): Buffer {
  const data = Buffer.alloc(14)
  data.writeUInt16BE(nbd.INFO_BLOCK_SIZE, 0)
  for (const [i, size] of [minimum, preferred, maximum].entries()) data.writeUInt32BE(size, 2 + 4 * i)
  return data
}

export function encodeInfoText(info: number, text: string): Buffer {
  const type = Buffer.alloc(2)
  type.writeUInt16BE(info)
  return Buffer.concat([type, Buffer.from(text)])
}

/** Data of NBD_REP_META_CONTEXT. */
export function encodeContext(id: number, name: string): Buffer {
  const number = Buffer.alloc(4)
  number.writeUInt32BE(id)
  return Buffer.concat([number, Buffer.from(name)])
}
