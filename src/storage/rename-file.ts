/**
 * Gives a file its final name in one step, within a filesystem. So whenever we end, no incomplete file has that name. If the system
 * reports a failure, we look whether the file has the name: NFS may lose the answer of a rename that was done.
 */

import type { Stats } from 'node:fs'
import { link, lstat, rename } from 'node:fs/promises'
import { getSystemErrorName } from 'node:util'
import { pathOf } from '../core/byte-text.ts'
import { fileCalls } from '../system/file-calls.ts'
import { isSame } from './partial-entry.ts'

/** Errors of link(2) on filesystems without hard links, or if the file has too many. */
const WITHOUT_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EINVAL'])
/** Errors of renameat2(2) on filesystems that cannot rename without replacing. */
const WITHOUT_NOREPLACE = new Set(['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'])

/**
 * Gives the file a name that no file has. Fails with EEXIST if one has it, even one that has just appeared. Makes a hard link, so the
 * file may keep its old name too. Without hard links, renames the file.
 */
export async function renameToNew(from: string, to: string): Promise<void> {
  const file = await lstat(from)
  await link(from, pathOf(to)).catch(async (error) => {
    if (await isFile(to, file)) return
    if (!WITHOUT_LINKS.has(error.code)) throw error
    await renameNew(from, to, file)
  })
}

/** Renames the file, and replaces a file that has the name. */
export async function renameOver(from: string, to: string): Promise<void> {
  const file = await lstat(from)
  await rename(from, pathOf(to)).catch(async (error) => {
    if (!(await isFile(to, file))) throw error
  })
}

/** Renames without replacing. If the system or the filesystem cannot do that, a file that appears at this moment is replaced. */
async function renameNew(from: string, to: string, file: Stats): Promise<void> {
  const outcome = to.isWellFormed() ? await fileCalls()?.renameNew(from, to) : undefined
  if (outcome === 0 || (await isFile(to, file))) return
  const code = outcome === undefined ? 'ENOSYS' : getSystemErrorName(outcome)
  if (!WITHOUT_NOREPLACE.has(code)) throw systemError(code, to)
  const there = await lstat(pathOf(to)).catch(() => null)
  if (there !== null) throw systemError('EEXIST', to)
  await renameOver(from, to)
}

async function isFile(path: string, file: Stats): Promise<boolean> {
  const there = await lstat(pathOf(path)).catch(() => null)
  return there !== null && isSame(there, file)
}

function systemError(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: rename to '${path}'`), { code, syscall: 'rename', path })
}
