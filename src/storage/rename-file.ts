/**
 * Giving a file its final name, in the same filesystem, in one step: nothing half-made ever has that name, whenever we end.
 * If the step is said to have failed, the file under the name decides: the answer may have been lost on its way, as NFS does.
 */

import type { Stats } from 'node:fs'
import { link, lstat, rename } from 'node:fs/promises'
import { getSystemErrorName } from 'node:util'
import { pathOf } from '../core/byte-text.ts'
import { fileCalls } from '../system/file-calls.ts'
import { isSame } from './partial-entry.ts'

/** What a filesystem without hard links says, or one of which the file has too many. */
const WITHOUT_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EINVAL'])
/** What one says that cannot rename without replacing. */
const WITHOUT_NOREPLACE = new Set(['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'])

/**
 * A new name: it replaces nothing, not even a file that appeared a moment ago, but fails with EEXIST. A hard link, so that the file
 * may still have its old name too; if there are none, a rename.
 */
export async function renameToNew(from: string, to: string): Promise<void> {
  const file = await lstat(from)
  await link(from, pathOf(to)).catch(async (error) => {
    if (await isFile(to, file)) return
    if (!WITHOUT_LINKS.has(error.code)) throw error
    await renameNew(from, to, file)
  })
}

/** The name of whatever has it now. */
export async function renameOver(from: string, to: string): Promise<void> {
  const file = await lstat(from)
  await rename(from, pathOf(to)).catch(async (error) => {
    if (!(await isFile(to, file))) throw error
  })
}

/** If neither the system nor the filesystem can do that, a file that appears in this very moment is replaced. */
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
