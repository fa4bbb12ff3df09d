/** Opens a file without a name, which only its owner can read. It is gone however the process ends. */

import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'

/** Linux: a file that never has a name (open(2), O_TMPFILE). */
const TMPFILE = 0o20000000 | constants.O_DIRECTORY

export async function namelessFile(folder: string): Promise<FileHandle> {
  if (process.platform === 'linux') {
    const file = await open(folder, TMPFILE | constants.O_RDWR, 0o600).catch(() => null)
    if (file !== null) return file
  }
  // For filesystems without O_TMPFILE, such as NFS.
  const path = join(folder, `.vmapipe-spool-${randomUUID()}`)
  const file = await open(path, 'wx+', 0o600)
  await unlink(path)
  return file
}
