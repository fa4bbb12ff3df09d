import { VmapipeError } from '../core/errors.ts'

/** Refuses a range that does not lie within a drive of `size` bytes: a mistake of our own, not of the data. */
export function checkBounds(size: number, offset: number, length: number): void {
  const sane = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0
  if (!sane || offset + length > size) {
    throw new VmapipeError('STAGE', `${length} bytes are past the end of a drive of ${size} bytes`, { offset })
  }
}
