/** Cuts ranges and payloads to what one request may carry. Offsets and lengths are bytes. */

export interface Piece {
  offset: number
  length: number
}

/** Pieces of at most `most` bytes that begin at multiples of `align`, but for the first. `most` is at least `align`. */
export function pieces(offset: number, length: number, most: number, align: number): Piece[] {
  const all: Piece[] = []
  const step = most - (most % align)
  const end = offset + length
  for (let position = offset; position < end; ) {
    const next = Math.min(position - (position % align) + step, end)
    all.push({ offset: position, length: next - position })
    position = next
  }
  return all
}

/** The same for buffers that are written one after the other; the payloads are views of them, none empty. */
export function cutBuffers(
  buffers: readonly Uint8Array[],
  offset: number,
  most: number,
  align: number,
): (Piece & { payload: Uint8Array[] })[] {
  const full = buffers.filter(({ byteLength }) => byteLength > 0)
  const length = full.reduce((sum, { byteLength }) => sum + byteLength, 0)
  const list = pieces(offset, length, most, align)
  if (list.length === 1) return [{ ...list[0], payload: full }]
  let index = 0
  let used = 0
  return list.map((piece) => {
    const payload: Uint8Array[] = []
    for (let left = piece.length; left > 0; ) {
      const view = full[index].subarray(used, used + left)
      payload.push(view)
      left -= view.byteLength
      used += view.byteLength
      if (used === full[index].byteLength) {
        index++
        used = 0
      }
    }
    return { ...piece, payload }
  })
}
