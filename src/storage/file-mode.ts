/** Permissions of files that hold what a guest has on its disks. */

import { VmapipeError } from '../core/errors.ts'

/** Unless told otherwise. */
export const OWNERS_ALONE = 0o600

/** `0640`, `640`, `0o640`. Throws USAGE for what is no permissions of a file that its owner can read and write. */
export function parseMode(text: string): number {
  const mode = /^0?o?[0-7]{3}$/.test(text) ? Number.parseInt(text.slice(-3), 8) : Number.NaN
  if ((mode & OWNERS_ALONE) === OWNERS_ALONE) return mode
  throw new VmapipeError('USAGE', `'${text}' is not a mode of files`, { hint: 'write it as 0640' })
}

/** As chmod(1) takes it. */
export function formatMode(mode: number): string {
  return mode.toString(8).padStart(4, '0')
}

/** Of a folder with such files: who may read them may go through it. */
export function folderMode(mode: number): number {
  return mode | ((mode & 0o444) >> 2) | 0o700
}
