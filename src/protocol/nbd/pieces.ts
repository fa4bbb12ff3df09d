/** Cuts payloads to what one request may carry. */

import { totalLength } from '../../core/items.ts'
import { type Piece, piecesOf } from '../../core/pieces.ts'

/** Cuts buffers that are written one after the other as `piecesOf` cuts their range. The payloads are views, none of them empty. */
export function cutBuffers(
  buffers: readonly Uint8Array[],
  offset: number,
  most: number,
  align: number,
): (Piece & { payload: Uint8Array[] })[] {
  const full = buffers.filter(({ byteLength }) => byteLength > 0)
  const list = [...piecesOf(offset, totalLength(full), most, align)]
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
