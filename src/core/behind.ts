/**
 * Describes bytes behind the end of an archive: a newline, padding, another archive, or the old content of a device. An archive with
 * a closing extent (formats/vma/README.md) is whole in spite of them. In any other archive they count as damage, because they might
 * belong to it; the drives before them are still whole.
 */

import { VmapipeError } from './errors.ts'

/** The number of bytes that a message shows. */
const SHOWN = 4

/** Bytes behind the end of an archive. */
export interface Behind {
  /** The first of them. */
  offset: number
  /** Whether that is a byte of the archive as it is, or of what it unpacks to. */
  within: 'archive' | 'content'
}

/** The message for an archive with a closing extent. */
export function behindText({ offset, within }: Behind, start: Uint8Array): string {
  const what = within === 'archive' ? 'the archive' : 'the unpacked archive'
  return `${what} ends at byte ${offset}; what follows there (${hex(start)}) is not part of it and was passed over`
}

/** For any other; `last` is what the bytes stand behind. */
export function goesOnBehind(last: string, offset: number, start: Uint8Array): VmapipeError {
  return new VmapipeError('DAMAGED', `the archive goes on after its last ${last} with ${hex(start)}`, { offset })
}

/** The first of these bytes. */
export function hex(bytes: Uint8Array, most = SHOWN): string {
  return Buffer.from(bytes.subarray(0, most))
    .toString('hex')
    .replace(/..(?=.)/g, '$& ')
}
