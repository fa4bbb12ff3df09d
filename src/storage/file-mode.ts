/** Permissions of files with data of a guest. */

import { VmapipeError } from '../core/errors.ts'

/** By default only the owner may read and write. */
export const OWNERS_ALONE = 0o600

/** Parses permissions as chmod(1) takes them: `0640` or `640`. Throws USAGE if the owner could not read and write. */
export function parseMode(text: string): number {
  const mode = /^0?[0-7]{3}$/.test(text) ? Number.parseInt(text, 8) : 0
  if ((mode & OWNERS_ALONE) === OWNERS_ALONE) return mode
  throw new VmapipeError('USAGE', `'${text}' is not a mode of files that their owner reads and writes`, {
    hint: 'write it as 0640',
  })
}

/** The permissions of a folder with such files: users who may read the files may list the folder. */
export function folderMode(mode: number): number {
  return 0o700 | mode | ((mode & 0o444) >> 2)
}
