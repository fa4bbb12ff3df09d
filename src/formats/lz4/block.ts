/**
 * Decodes LZ4 blocks (lz4_Block_format.md) in plain JavaScript. It is the fallback if lz4-napi's compiled code cannot be loaded,
 * because an archive must be readable everywhere. There is no fallback for compressing.
 */

const MIN_MATCH = 4
/** A length of 15 in a token continues in the bytes behind it. Each of them adds up to 255. */
const LONG = 15

/**
 * Decodes a block into memory of its own. `limit` is the most bytes that the content may have; `history` is the content before a
 * linked block. Throws an error that says what is wrong with the block.
 */
export function decodeLz4Block(block: Uint8Array, limit: number, history: Uint8Array = new Uint8Array(0)): Buffer {
  const before = history.length
  const content = Buffer.allocUnsafeSlow(before + limit)
  content.set(history)
  let at = 0
  let filled = before
  const wrong = (what: string) => new Error(`the block ${what} at its byte ${at}`)
  const lengthFrom = (short: number) => {
    if (short < LONG) return short
    let length = short
    for (let more = 255; more === 255; length += more) {
      if (at >= block.length) throw wrong('ends within a length')
      more = block[at++]
    }
    return length
  }
  for (;;) {
    if (at >= block.length) throw wrong('ends without literals')
    const token = block[at++]
    const literals = lengthFrom(token >>> 4)
    if (literals > block.length - at) throw wrong('ends within literals')
    if (literals > content.length - filled) throw wrong('holds more than it may')
    content.set(block.subarray(at, at + literals), filled)
    at += literals
    filled += literals
    if (at === block.length) return content.subarray(before, filled)
    if (at + 2 > block.length) throw wrong('ends within an offset')
    const offset = block[at] | (block[at + 1] << 8)
    at += 2
    const length = lengthFrom(token & 15) + MIN_MATCH
    if (offset === 0 || offset > filled) throw wrong('refers to what is before its beginning')
    if (length > content.length - filled) throw wrong('holds more than it may')
    filled = copyMatch(content, filled, offset, length)
  }
}

/** Copies a match and returns the place where it ends. A match may overlap its own copy: then its pattern repeats. */
function copyMatch(content: Buffer, at: number, offset: number, length: number): number {
  const end = at + length
  if (offset >= length) {
    content.copyWithin(at, at - offset, end - offset)
  } else {
    for (let to = at; to < end; to++) content[to] = content[to - offset]
  }
  return end
}
