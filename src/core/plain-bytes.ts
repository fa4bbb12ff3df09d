/** Makes plain bytes of items and items of plain bytes, for streams of others, which know nothing of leases. */

import { VmapipeError } from './errors.ts'
import { Chunk, type Item } from './items.ts'

/** Copies bytes out of leased memory, because a stream of others may keep its buffers. Ends the leases. */
export function plainBytes(chunk: Chunk): Uint8Array[] {
  const buffers = chunk.leases.length > 0 ? [Buffer.concat(chunk.buffers)] : [...chunk.buffers]
  chunk.release()
  return buffers
}

/** The item for what a stage of others gave: bytes become a Chunk, an item stays as it is. Throws STAGE for anything else. */
export function asItem(value: unknown): Item {
  if (value instanceof Uint8Array) return new Chunk([value])
  if (typeof value === 'object' && value !== null && 'kind' in value && 'release' in value) return value as Item
  const what = value === null ? 'null' : typeof value
  throw new VmapipeError(
    'STAGE',
    `gave ${what === 'object' ? 'an object that is no item' : `a value of type ${what}`}`,
    {
      hint: 'give a Uint8Array, a Buffer, or an item such as a Chunk',
    },
  )
}
