/** A new file for a secret, which nobody but its owner may ever read. */

import { randomBytes } from 'node:crypto'
import { type FileHandle, link, lstat, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'

export interface SecretFile {
  /** The file appears under its name with this line in it. */
  write(line: string): Promise<void>
  /** Removes what is left, if nothing was written. */
  end(): Promise<void>
}

/** Throws USAGE if the file is there already and is not to be replaced, FAILED if it cannot be made. */
export async function writeSecretFile(path: string, force: boolean): Promise<SecretFile> {
  const refuse = () => new VmapipeError('USAGE', `'${path}' exists`, { hint: 'name another file, or use --force' })
  if (!force && (await lstat(path).catch(() => null)) !== null) throw refuse()
  const hidden = join(dirname(path), `.${randomBytes(6).toString('hex')}.partial`)
  const fail = (error: unknown) => asVmapipeError(error, { file: path })
  let file: FileHandle
  try {
    file = await open(hidden, 'wx', 0o600)
  } catch (error) {
    throw fail(error)
  }
  return {
    async write(line) {
      try {
        await file.chmod(0o600)
        await file.writeFile(`${line}\n`)
        await file.sync()
        if (force) await rename(hidden, path)
        else await link(hidden, path)
      } catch (error) {
        throw (error as NodeJS.ErrnoException).code === 'EEXIST' ? refuse() : fail(error)
      }
    },
    async end() {
      await file.close()
      await rm(hidden, { force: true })
    },
  }
}
