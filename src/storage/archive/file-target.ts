/**
 * An archive as a file. It is written under a temporary name beside its own, made durable, and only then given its
 * name: whatever ends us in the middle, nothing half-written stands under it. It is readable by its owner alone, as
 * it holds whole disks.
 */

import { constants } from 'node:fs'
import { type FileHandle, link, lstat, open, realpath, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { totalLength } from '../../core/items.ts'
import { writeToFile } from './gather.ts'
import { claim, clearLeftOvers, partialPath, unclaim } from './partial.ts'
import type { ArchiveTarget, TargetOptions } from './target.ts'

export class FileTarget implements ArchiveTarget {
  readonly #asked: string
  readonly #force: boolean
  readonly #warn: (message: string) => void
  #path = ''
  #partial: string | null = null
  #file: FileHandle | null = null
  #position = 0

  constructor(path: string, { force = false, warn = () => {} }: TargetOptions) {
    this.#asked = path
    this.#force = force
    this.#warn = warn
  }

  async open(): Promise<void> {
    this.#path = await this.#resolve()
    if (!this.#force && (await exists(this.#path))) throw this.#existsError('exists')
    await clearLeftOvers(this.#path, this.#warn)
    const partial = partialPath(this.#path)
    if (!claim(partial)) throw new VmapipeError('FAILED', `'${this.#path}' is being written by this very process`)
    try {
      this.#file = await open(partial, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
    } catch (error) {
      unclaim(partial)
      throw error
    }
    this.#partial = partial
  }

  async write(buffers: readonly Uint8Array[]): Promise<void> {
    const position = this.#position
    this.#position += totalLength(buffers)
    try {
      await writeToFile(this.#file!.fd, buffers, position)
    } catch (error) {
      throw asVmapipeError(error, { file: this.#path, offset: position })
    }
  }

  async finish(): Promise<void> {
    await this.#file!.sync()
    await this.#file!.close()
    this.#file = null
    await this.#publish()
    unclaim(this.#partial!)
    this.#partial = null
    await syncFolder(dirname(this.#path))
  }

  async abort(): Promise<void> {
    const file = this.#file
    const partial = this.#partial
    this.#file = null
    this.#partial = null
    // First the name, so that nothing is left of it where closing fails.
    if (partial !== null) {
      await unlink(partial).catch(unlessGone)
      unclaim(partial)
    }
    await file?.close()
  }

  /** Through a symbolic link to the file it means; that one is replaced, not the link. */
  async #resolve(): Promise<string> {
    const folder = await realpath(dirname(this.#asked))
    return realpath(this.#asked).catch(() => join(folder, basename(this.#asked)))
  }

  /** A hard link never replaces anything; where the filesystem has none, a look and a rename must do. */
  async #publish(): Promise<void> {
    const partial = this.#partial!
    if (this.#force) return rename(partial, this.#path)
    try {
      await link(partial, this.#path)
    } catch (error) {
      if (await exists(this.#path)) throw this.#existsError('has appeared during the backup')
      if (!WITHOUT_LINKS.has((error as NodeJS.ErrnoException).code ?? '')) throw error
      return rename(partial, this.#path)
    }
    await unlink(partial)
  }

  #existsError(what: string): VmapipeError {
    return new VmapipeError('FAILED', `'${this.#path}' ${what} and was not overwritten`, {
      hint: 'choose another name, or allow it with --force',
    })
  }
}

const WITHOUT_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EINVAL'])

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error) => {
      if (error.code === 'ENOENT') return false
      throw error
    },
  )
}

function unlessGone(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}

/** So that the name outlives a power cut too. Some filesystems cannot sync a folder and say EINVAL. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await folder.sync()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
  } finally {
    await folder.close()
  }
}
