/** What a live restore of a domain has to know if it goes on after it was killed: a file in the folder of the staging. */

import { lstat, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from '../../core/stage.ts'
import { syncFolder } from '../../storage/folder.ts'

export const LIVE_STATE = 'live.json'

const MAX_BYTES = 1 << 20

const schema = z.strictObject({
  /** uuid of the archive, as hexadecimal digits. */
  archive: z.string(),
  /** uuid of the domain. */
  uuid: z.string(),
  /** Where the archive is served. It is in the header of each image, so it stays the same. */
  socket: z.string(),
  disks: z.array(
    z.strictObject({
      target: z.string(),
      drive: z.string(),
      path: z.string(),
      /** What the guest's disk does at errors when the restore is complete; null: what libvirt does by default. */
      errors: z.string().nullable(),
      readErrors: z.string().nullable(),
    }),
  ),
})

export type LiveState = z.infer<typeof schema>
export type LiveDisk = LiveState['disks'][number]

export async function readLiveState(folder: string): Promise<LiveState | null> {
  const path = join(folder, LIVE_STATE)
  const stats = await lstat(path).catch(() => null)
  if (stats === null || !stats.isFile() || stats.size > MAX_BYTES) return null
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch {
    // Killed while it was written: nothing was defined yet.
    return null
  }
}

export async function writeLiveState(folder: string, state: LiveState): Promise<void> {
  const file = await open(join(folder, LIVE_STATE), 'wx', 0o600)
  try {
    await file.writeFile(JSON.stringify(state))
    await file.sync()
  } finally {
    await file.close()
  }
  await syncFolder(folder, folder)
}
