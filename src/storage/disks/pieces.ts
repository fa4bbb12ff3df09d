/**
 * A long zero or trim of a disk in pieces: others are served in between, and nobody has to keep track of more than one
 * piece of it at a time.
 */

/** One call of the kernel for each, and a thousand clusters to look at. */
export const PIECE_BYTES = 64 << 20

export interface Piece {
  offset: number
  length: number
}

/** They end at multiples of their size. */
export function* piecesOf(offset: number, length: number): Generator<Piece> {
  const end = offset + length
  for (let at = offset; at < end; ) {
    const to = Math.min(end, at - (at % PIECE_BYTES) + PIECE_BYTES)
    yield { offset: at, length: to - at }
    at = to
  }
}

/** Whether so much may as well be done at once. */
export function isOnePiece(length: number): boolean {
  return length <= PIECE_BYTES
}
