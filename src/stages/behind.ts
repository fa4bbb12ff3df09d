/**
 * Bytes behind the end of an archive: a newline, padding, another archive, what a device had before. They cost nothing that was
 * whole before them. An archive that says itself where it ends (formats/vma/README.md, "The closing extent") is whole in spite of them;
 * of any other nobody knows whether they should be there.
 */

import { VmapipeError } from '../core/errors.ts'

/** How many of them are shown. */
const SHOWN = 4

export interface Behind {
  /** The first of them. */
  offset: number
  /** Whether that is a byte of the archive as it is, or of what it unpacks to. */
  within: 'archive' | 'content'
}

/** For an archive that has said that it ends. */
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
