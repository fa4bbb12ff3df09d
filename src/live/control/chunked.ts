/**
 * A response of HTTP/1.1 (RFC 9112) as a parser over a Feeder: so the archive's bytes go from the kernel to where they
 * belong, in large reads. Node's own parser gives each 64 KiB in memory of its own, and collecting that costs more
 * than everything else together.
 */

import { VmapipeError } from '../../core/errors.ts'
import { MAX_NEED, type Parser } from '../../protocol/feeder.ts'

export interface Head {
  status: number
  /** Names in lower case. */
  headers: ReadonlyMap<string, string>
}

/** Where a body's bytes are put. */
export interface Room {
  /** At most `most` bytes, not none; null where there is no room until the parser is woken. */
  next(most: number): Uint8Array | null
  /** They are there. */
  filled(bytes: number): void
}

const MAX_LINE = 4096
const MAX_LINES = 100

/** "Status Line" and "Field Syntax" */
export function* parseHead(): Parser<Head> {
  const [, code] = /^HTTP\/1\.1 (\d{3})(?: |$)/.exec(yield* parseLine()) ?? []
  if (code === undefined) throw odd('it does not speak HTTP/1.1')
  return { status: Number(code), headers: yield* parseFields() }
}

/** "Chunked Transfer Coding": the body into `room`; gives the trailers, without which nothing is whole. */
export function* parseChunks(room: Room): Parser<ReadonlyMap<string, string>> {
  for (;;) {
    const [, digits] = /^([0-9a-f]{1,12})(?:[ \t]*;.*)?$/i.exec(yield* parseLine()) ?? []
    if (digits === undefined) throw odd('a chunk without its size')
    const size = Number.parseInt(digits, 16)
    if (size === 0) return yield* parseFields()
    yield* fill(room, size)
    if ((yield* parseLine()) !== '') throw odd('a chunk that is longer than it says')
  }
}

/** A body of so many bytes, as text. */
export function* parseText(length: number): Parser<string> {
  const parts: Buffer[] = []
  for (let left = length; left > 0; left -= parts.at(-1)!.length)
    parts.push(Buffer.from(yield Math.min(left, MAX_NEED)))
  return Buffer.concat(parts).toString()
}

function* fill(room: Room, size: number): Parser {
  for (let left = size; left > 0; ) {
    const into = room.next(left)
    yield into
    if (into === null) continue
    room.filled(into.byteLength)
    left -= into.byteLength
  }
}

function* parseFields(): Parser<ReadonlyMap<string, string>> {
  const fields = new Map<string, string>()
  for (let lines = 0; lines <= MAX_LINES; lines++) {
    const line = yield* parseLine()
    if (line === '') return fields
    const [, name, value] = /^([^\s:]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? []
    if (name === undefined) throw odd('a header without a name')
    fields.set(name.toLowerCase(), value)
  }
  throw odd('headers without end')
}

/** Lines are few: what stands behind one is not read with it, but for a little. */
function* parseLine(): Parser<string> {
  let line = ''
  for (;;) {
    const [byte] = yield 1
    if (byte === 0x0a) return line.endsWith('\r') ? line.slice(0, -1) : line
    if (line.length === MAX_LINE) throw odd('a line without end')
    line += String.fromCharCode(byte)
  }
}

function odd(what: string): VmapipeError {
  return new VmapipeError('FAILED', `the answer is not that of a service: ${what}`)
}
