/**
 * The head of an HTTP/1.1 response (RFC 9112), and a short body, as parsers over a Feeder. What comes behind the head is then read
 * by the same feeder: it goes from the kernel directly to where it belongs.
 */

import { VmapipeError } from '../../core/errors.ts'
import { MAX_NEED, type Parser } from '../../protocol/feeder.ts'

export interface Head {
  status: number
  /** Names in lower case. */
  headers: ReadonlyMap<string, string>
}

const MAX_LINE = 4096
const MAX_LINES = 100

/** "Status Line" and "Field Syntax" */
export function* parseHead(): Parser<Head> {
  const [, code] = /^HTTP\/1\.1 (\d{3})(?: |$)/.exec(yield* parseLine()) ?? []
  if (code === undefined) throw odd('it does not speak HTTP/1.1')
  return { status: Number(code), headers: yield* parseFields() }
}

/** A body of so many bytes, as text. */
export function* parseText(length: number): Parser<string> {
  const parts: Buffer[] = []
  for (let left = length; left > 0; left -= parts.at(-1)!.length)
    parts.push(Buffer.from(yield Math.min(left, MAX_NEED)))
  return Buffer.concat(parts).toString()
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

/** Reads byte by byte: heads are short, and what follows one is not read with it. */
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
