/** A folder is used by one process at a time. The kernel keeps the lock, so nothing is left of it after a crash. */

import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { lockFile } from '../../storage/partial-lock.ts'

/** Throws FAILED if another process has it. Returns what gives it back. */
export async function lockFolder(folder: string, warn: (line: string) => void): Promise<() => Promise<void>> {
  const file = await open(join(folder, 'lock'), 'a+', 0o600)
  try {
    const outcome = await lockFile(file)
    if (outcome === 'busy')
      throw new VmapipeError('FAILED', `another planner (process ${await holder(file)}) uses the folder '${folder}'`, {
        hint: 'stop it first, or name another folder',
      })
    if (outcome === 'none') warn(`the folder '${folder}' cannot be locked here: start no second planner on it`)
    await file.truncate()
    await file.write(`${process.pid}\n`, 0)
    return () => file.close()
  } catch (error) {
    await file.close()
    throw error
  }
}

async function holder(file: FileHandle): Promise<string> {
  const text = (await file.read(Buffer.alloc(20), 0, 20, 0)).buffer.toString('latin1')
  return /^\d+/.exec(text)?.[0] ?? '?'
}
