/** A folder for short-lived sockets, among the temporary files, for this user only. It is removed when we end, or by the next run. */

import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeAbandoned } from './abandoned-files.ts'
import { PartialEntry } from './partial-entry.ts'

const NAME = 'vmapipe'

/** The longest TMPDIR that is used: a socket's path has at most 107 bytes, of which the folder takes 51, and a socket with its slash 5. */
const MAX_TMPDIR = 50

export async function socketFolder(): Promise<PartialEntry> {
  const parent = Buffer.byteLength(tmpdir()) > MAX_TMPDIR ? '/tmp' : tmpdir()
  const folder = await PartialEntry.create(parent, NAME, true)
  await removeAbandoned(join(parent, NAME), folder, () => {})
  return folder
}
