/**
 * Long lists as compressed JSON. Of 20,000 guests few change from one answer to the next, so the list is compressed in parts of some hundred
 * rows, and a part is kept as long as its rows are the same objects. The parts end at whole bytes and refer to nothing before them (a full
 * flush), so one after the other they are one stream of gzip (RFC 1952).
 */

import { promisify } from 'node:util'
import { constants, crc32, deflateRaw, deflateRawSync } from 'node:zlib'

const ROWS = 250
const HEAD = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])
/** A block of one byte, the end of the list, and that it is the last. */
const TAIL = Buffer.from(']')
const LAST = deflateRawSync(TAIL)

interface Part {
  rows: readonly unknown[]
  text: Buffer
  packed: Promise<Buffer>
}

/** By the first row of each part. */
const parts = new WeakMap<object, Part>()

/** Answers, as long as their lists are the same. */
const answers = new WeakMap<readonly unknown[], Promise<Uint8Array<ArrayBuffer>>>()

/** Rows and lists that were given are not changed afterwards. There is one row at least. */
export function packRows(rows: readonly unknown[]): Promise<Uint8Array<ArrayBuffer>> {
  const known = answers.get(rows)
  if (known !== undefined) return known
  const answer = packAll(rows)
  answers.set(rows, answer)
  answer.catch(() => answers.delete(rows))
  return answer
}

async function packAll(rows: readonly unknown[]): Promise<Uint8Array<ArrayBuffer>> {
  const all: Part[] = []
  for (let at = 0; at < rows.length; at += ROWS) all.push(partOf(rows.slice(at, at + ROWS), at === 0))
  const texts = [...all.map(({ text }) => text), TAIL]
  const end = Buffer.alloc(8)
  end.writeUInt32LE(texts.reduce((sum, text) => crc32(text, sum), 0))
  end.writeUInt32LE(texts.reduce((sum, { length }) => sum + length, 0) % 2 ** 32, 4)
  const packed = await Promise.all(all.map(({ packed }) => packed))
  return new Uint8Array(Buffer.concat([HEAD, ...packed, LAST, end]))
}

function partOf(rows: readonly unknown[], isFirst: boolean): Part {
  const first = rows[0]
  const isKept = first !== null && typeof first === 'object'
  const known = isKept ? parts.get(first) : undefined
  const before = isFirst ? '[' : ','
  if (
    known !== undefined &&
    known.text[0] === before.charCodeAt(0) &&
    known.rows.length === rows.length &&
    rows.every((row, at) => row === known.rows[at])
  )
    return known
  const text = Buffer.from(before + rows.map((row) => JSON.stringify(row)).join(','))
  const part = { rows, text, packed: pack(text) }
  if (isKept) parts.set(first, part)
  return part
}

/** Quick rather than small: the answer is made for one look. */
async function pack(text: Buffer): Promise<Buffer> {
  return promisify(deflateRaw)(text, { level: 1, finishFlush: constants.Z_FULL_FLUSH })
}
