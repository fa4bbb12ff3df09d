/** Permissions of files that hold what a guest has on its disks. */

import { VmapipeError } from '../core/errors.ts'

/** Unless told otherwise. */
export const OWNERS_ALONE = 0o600

/** As chmod(1) takes them: `0640` or `640`. Throws USAGE for those with which the owner could not read and write. */
export function parseMode(text: string): number {
  const mode = /^0?[0-7]{3}$/.test(text) ? Number.parseInt(text, 8) : 0
  if ((mode & OWNERS_ALONE) === OWNERS_ALONE) return mode
  throw new VmapipeError('USAGE', `'${text}' is not a mode of files that their owner reads and writes`, {
    hint: 'write it as 0640',
  })
}

/** Of a folder with such files: those who may read them may look into it. */
export function folderMode(mode: number): number {
  return 0o700 | mode | ((mode & 0o444) >> 2)
}
