/**
 * A file that gets its name only when it is complete: whatever ends us in the middle, nothing half-written stands under
 * it. Until then it has a temporary name beside the final one (see partial-name.ts). That is the file, or a folder with
 * the file in it under its final name, for formats that write their own name into themselves.
 */

import { constants, type Stats } from 'node:fs'
import { type FileHandle, link, lstat, mkdir, open, realpath, rename, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { syncFolder } from './folder.ts'
import { refuseIfRead } from './in-use.ts'
import { claim, clearLeftOvers, partialPath, unclaim } from './partial-name.ts'

export interface PartialFileOptions {
  /** A file that has the final name is replaced. */
  force?: boolean
  /** Told of what an earlier run left behind. */
  warn?: (message: string) => void
}

export interface PartialFileForm {
  /** Permissions of the file where there was none of this name; what is replaced keeps its own. */
  mode?: number
  /** The file lies in a temporary folder under its final name. */
  inFolder?: boolean
}

/** O_EXCL: neither somebody else's file nor a planted symbolic link is opened. */
const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

export class PartialFile {
  /** The file's path for the time being, absolute. */
  readonly path: string
  readonly handle: FileHandle
  /** What is to be removed: the file, or the folder that it is in. */
  readonly #temporary: string
  readonly #target: string
  readonly #force: boolean
  #gone = false

  private constructor(target: string, temporary: string, { path, handle }: Place, force: boolean) {
    this.#target = target
    this.#temporary = temporary
    this.path = path
    this.handle = handle
    this.#force = force
  }

  /** Throws FAILED where the file exists and is not to be replaced, USAGE where it cannot be meant. */
  static async create(
    target: string,
    { force = false, warn = () => {} }: PartialFileOptions = {},
    form: PartialFileForm = {},
  ): Promise<PartialFile> {
    try {
      const absolute = join(await realpath(dirname(target)), basename(target))
      const existing = await lookAt(absolute)
      if (existing !== null) refuseToReplace(existing, target, force)
      await clearLeftOvers(absolute, warn)
      const temporary = partialPath(absolute)
      if (!claim(temporary)) throw new VmapipeError('USAGE', 'it is being written by this very process')
      const place = await makeNew(absolute, temporary, form)
      // What was private stays private.
      if (existing?.isFile()) await place.handle.chmod(existing.mode & 0o777)
      return new PartialFile(absolute, temporary, place, force)
    } catch (error) {
      const failure = asVmapipeError(error)
      failure.where.file ??= target
      throw failure
    }
  }

  /**
   * Gives the file its final name, durably, and returns it. Its content must have been synced before. With a suffix nothing is
   * ever replaced: a number follows where the name is taken.
   */
  async publish(suffix = ''): Promise<string> {
    if (this.#gone) return this.#target + suffix
    try {
      const path = suffix === '' ? await this.#takeName() : await this.#takeFreeName(this.#target + suffix)
      await this.#remove()
      await syncFolder(dirname(this.#target))
      return path
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw alreadyThere('has appeared meanwhile', this.#target)
      throw asVmapipeError(error, { file: this.#target })
    }
  }

  async #takeName(): Promise<string> {
    if (this.#force) await rename(this.path, this.#target)
    else await renameNew(this.path, this.#target)
    return this.#target
  }

  async #takeFreeName(wanted: string): Promise<string> {
    for (let number = 1; ; number++) {
      const path = number === 1 ? wanted : `${wanted}.${number}`
      try {
        await renameNew(this.path, path)
        return path
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
    }
  }

  /** Closes the file, and removes it unless it was published. */
  async close(): Promise<void> {
    // First the name, so that nothing is left of it where closing fails.
    await this.#remove()
    await this.handle.close()
  }

  async #remove(): Promise<void> {
    if (this.#gone) return
    this.#gone = true
    await rm(this.#temporary, { recursive: true, force: true })
    unclaim(this.#temporary)
  }
}

async function lookAt(path: string): Promise<Stats | null> {
  return lstat(path).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
}

function refuseToReplace(existing: Stats, file: string, force: boolean): void {
  if (!force) throw alreadyThere('exists', file)
  if (!existing.isFile() && !existing.isSymbolicLink()) {
    throw new VmapipeError('USAGE', 'it exists and is not a file', { file })
  }
  refuseIfRead(existing, file)
}

function alreadyThere(what: string, file: string): VmapipeError {
  return new VmapipeError('FAILED', `it ${what} and was not overwritten`, {
    file,
    hint: 'choose another name, or allow it with --force',
  })
}

interface Place {
  path: string
  handle: FileHandle
}

async function makeNew(target: string, temporary: string, { inFolder, mode }: PartialFileForm): Promise<Place> {
  try {
    if (inFolder) await mkdir(temporary, 0o700)
    const path = inFolder ? join(temporary, basename(target)) : temporary
    return { path, handle: await open(path, NEW_FILE, mode) }
  } catch (error) {
    unclaim(temporary)
    throw error
  }
}

const WITHOUT_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EINVAL'])

/** A new name in the same filesystem. A hard link never replaces anything, not even a file that appeared a moment ago. */
export async function renameNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (!WITHOUT_LINKS.has((error as NodeJS.ErrnoException).code ?? '')) throw error
    // A filesystem without hard links: reserve the name, then replace what is ours.
    await (await open(to, 'wx')).close()
    await rename(from, to)
    return
  }
  await unlink(from)
}
