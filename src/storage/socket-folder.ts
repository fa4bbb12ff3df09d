/** A folder for sockets of a moment, for this user alone: among the temporary files, and gone with us, or with the next run. */

import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeAbandoned } from './abandoned-files.ts'
import { PartialEntry } from './partial-entry.ts'

const NAME = 'vmapipe'

/** A socket's path has 107 bytes at most; the folder's own name has 51, and a socket in it up to 5 with its slash. */
const MAX_TMPDIR = 50

export async function socketFolder(): Promise<PartialEntry> {
  const parent = Buffer.byteLength(tmpdir()) > MAX_TMPDIR ? '/tmp' : tmpdir()
  const folder = await PartialEntry.create(parent, NAME, true)
  await removeAbandoned(join(parent, NAME), folder, () => {})
  return folder
}
