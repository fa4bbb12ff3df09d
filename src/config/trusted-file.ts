/** Whether code may be loaded from a file: only if nobody else can have put it there. */

import { realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

const OTHERS_WRITE = 0o002
const STICKY = 0o1000

/**
 * Throws an Error unless the file, and every folder above it, belongs to root, to this user or to one of `owners`, and others cannot replace
 * it. If a symbolic link leads to it, the file at the end of the link counts.
 */
export async function refuseUntrusted(file: string, owners: readonly number[]): Promise<void> {
  const trusted = new Set([0, process.getuid?.() ?? 0, ...owners])
  const real = await realpath(file)
  for (let path = real; ; path = dirname(path)) {
    const found = await stat(path)
    if (!trusted.has(found.uid)) throw new Error(`'${path}' belongs to another user`)
    const isShared = (found.mode & OTHERS_WRITE) !== 0
    // In a sticky folder, nobody can replace what belongs to another user.
    if (isShared && !(found.isDirectory() && (found.mode & STICKY) !== 0))
      throw new Error(`others may write to '${path}'`)
    if (path === dirname(path)) return
  }
}
