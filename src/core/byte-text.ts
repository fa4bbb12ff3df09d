/**
 * Converts names from archives to strings that keep every byte, and back. A byte that is not valid UTF-8 becomes a lone
 * surrogate, U+DC80 to U+DCFF, as in Python's "surrogateescape". UTF-8 has no surrogates, so both directions are exact.
 */

import { isUtf8 } from 'node:buffer'

/** The longest code point of UTF-8, in bytes. */
const LONGEST = 4
const ESCAPED = 0xdc00

export function textOf(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString()
  let text = ''
  for (let at = 0; at < bytes.length; ) {
    const length = codePointLength(bytes, at)
    text += length === 0 ? String.fromCharCode(ESCAPED + bytes[at]) : bytes.toString('utf8', at, at + length)
    at += Math.max(1, length)
  }
  return text
}

export function bytesOf(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text)
  // With the flag `u` the pattern does not match one half of a surrogate pair.
  return Buffer.concat(text.split(/([\udc80-\udcff])/u).map(partBytes))
}

function partBytes(part: string): Buffer {
  const code = part.charCodeAt(0)
  const escaped = part.length === 1 && code >= 0xdc80 && code <= 0xdcff
  return escaped ? Buffer.from([code - ESCAPED]) : Buffer.from(part)
}

/** The length in bytes of the code point at `at`, or 0 if no code point of UTF-8 begins there. */
function codePointLength(bytes: Buffer, at: number): number {
  for (let length = 1; length <= LONGEST && at + length <= bytes.length; length++) {
    if (isUtf8(bytes.subarray(at, at + length))) return length
  }
  return 0
}

/** A path for Node's file functions. They would turn each byte that is not valid UTF-8 into three, so such a path is a Buffer. */
export function pathOf(path: string): string | Buffer {
  return path.isWellFormed() ? path : bytesOf(path)
}
