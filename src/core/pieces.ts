/** Cuts a range of bytes into pieces. */

export interface Piece {
  offset: number
  length: number
}

/** Pieces of at most `most` bytes that begin at multiples of `align`, except for the first one. `most` is at least `align`. */
export function* piecesOf(offset: number, length: number, most: number, align = most): Generator<Piece> {
  const step = most - (most % align)
  const end = offset + length
  for (let position = offset; position < end; ) {
    const next = Math.min(position - (position % align) + step, end)
    yield { offset: position, length: next - position }
    position = next
  }
}
