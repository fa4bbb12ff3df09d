/**
 * A file that gets its final name only when it is complete. So however we end, no incomplete file has that name. Until then it has a
 * temporary name beside the final one (partial-name.ts). Formats that write their own name into themselves have a folder of the
 * temporary name, with the file in it under its final name.
 */

import type { Stats } from 'node:fs'
import { type FileHandle, lstat, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pathOf } from '../core/byte-text.ts'
import { asVmapipeError, describe, typableName, VmapipeError } from '../core/errors.ts'
import { removeAbandoned } from './abandoned-files.ts'
import { refuseIfRead } from './being-read.ts'
import { OWNERS_ALONE } from './file-mode.ts'
import { syncFolder } from './folder.ts'
import { refuseAmongDevices } from './guard/dev-folder.ts'
import { holdUnused } from './guard/image-lock.ts'
import { isSame, openNew, PartialEntry } from './partial-entry.ts'
import { renameOver, renameToNew } from './rename-file.ts'

export interface PartialFileOptions {
  /** Replaces a file that has the final name. */
  force?: boolean
  /** Permissions of the file under its final name. By default, and until then, only its owner may use it. */
  mode?: number | undefined
  /** Called with messages about files that earlier runs have left. */
  warn?: (message: string) => void
}

interface PartialFileForm {
  /** The file is in a temporary folder, under its final name. */
  inFolder?: boolean
  /**
   * It is a small file of ours, which is no disk image. It replaces one that has the final name; a link is replaced itself. Several runs
   * may write it at once: the last one wins.
   */
  lastWins?: boolean | undefined
}

/** The files that this process is writing: device and inode of the folder, and the name in it. */
const written = new Set<string>()

export class PartialFile {
  /** The temporary path of the file. */
  readonly path: string
  /** Closed when the file gets its final name. */
  readonly handle: FileHandle
  readonly #target: string
  readonly #identity: string
  readonly #entry: PartialEntry
  readonly #force: boolean
  readonly #lastWins: boolean
  readonly #mode: number
  readonly #warn: (message: string) => void
  #open = true

  private constructor(
    target: string,
    identity: string,
    entry: PartialEntry,
    place: Place,
    options: PartialFileOptions,
    lastWins: boolean,
  ) {
    this.#target = target
    this.#identity = identity
    this.#entry = entry
    this.path = place.path
    this.handle = place.handle
    this.#force = options.force ?? false
    this.#lastWins = lastWins
    this.#mode = options.mode ?? OWNERS_ALONE
    this.#warn = options.warn ?? (() => {})
  }

  /** Throws FAILED if the file exists and must not be replaced, USAGE if the target is not for files. */
  static async create(
    target: string,
    options: PartialFileOptions = {},
    { inFolder = false, lastWins = false }: PartialFileForm = {},
  ): Promise<PartialFile> {
    const { force = false, warn = () => {} } = options
    try {
      await (lastWins ? refuseForm(target) : refuseToReplace(target, force))
      const { dev, ino } = await stat(dirname(target))
      const identity = `${dev}:${ino}/${basename(target)}`
      if (!lastWins && written.has(identity))
        throw new VmapipeError('USAGE', `'${target}' is being written by this very process`)
      written.add(identity)
      try {
        const entry = await PartialEntry.create(dirname(target), typableName(basename(target)), inFolder)
        const place = await placeIn(entry, target)
        await removeAbandoned(target, entry, warn)
        return new PartialFile(target, identity, entry, place, options, lastWins)
      } catch (error) {
        written.delete(identity)
        throw error
      }
    } catch (error) {
      const failure = asVmapipeError(error)
      failure.where.file ??= target
      throw failure
    }
  }

  /**
   * Makes the content durable, gives the file its final name, closes it, and returns the name. With a suffix nothing is ever
   * replaced: a number follows if the name is taken.
   */
  async publish(suffix = ''): Promise<string> {
    if (!this.#open) return this.#target + suffix
    try {
      await this.#checkInPlace()
      await this.handle.sync()
      await this.#setMode()
      const path = await this.#renameOver(suffix)
      // The file has its final name. It is no failure if the temporary name stays too.
      await this.close()
      await syncFolder(dirname(path), path)
      return path
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw alreadyThere('has appeared meanwhile', this.#target)
      throw asVmapipeError(error, { file: this.#target })
    }
  }

  /** Closes the file, and removes it unless it was published. */
  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    const closed = this.handle === this.#entry.file ? null : await this.handle.close().then(() => null, describe)
    const left = (await this.#entry.remove()) ?? closed
    written.delete(this.#identity)
    if (left !== null) this.#warn(`'${this.#entry.path}' is left: ${left}; the next run there removes it`)
  }

  /** Throws FAILED if the temporary name does not lead to the file any more. */
  async #checkInPlace(): Promise<void> {
    const there = await lookAt(this.path)
    if (there !== null && isSame(await this.handle.stat(), there)) return
    const what = there === null ? 'was removed' : 'was replaced by another'
    throw new VmapipeError('FAILED', `the file ${what} while it was written, as '${this.path}'`, {
      file: this.#target,
      hint: 'another program works in this folder; try again',
    })
  }

  async #setMode(): Promise<void> {
    if (this.#mode === OWNERS_ALONE) return
    await this.handle.chmod(this.#mode).catch((error) => {
      this.#warn(`'${this.#target}' does not get the permissions that were asked for: ${describe(error)}`)
    })
  }

  async #renameOver(suffix: string): Promise<string> {
    if (suffix !== '') return this.#takeFreeName(this.#target + suffix)
    if (this.#lastWins) {
      await refuseForm(this.#target)
      await renameOver(this.path, this.#target)
      return this.#target
    }
    if (this.#force) await refuseToReplace(this.#target, true)
    await (this.#force ? replaceUnused : renameToNew)(this.path, this.#target)
    return this.#target
  }

  async #takeFreeName(wanted: string): Promise<string> {
    for (let number = 1; ; number++) {
      const path = number === 1 ? wanted : `${wanted}.${number}`
      try {
        await renameToNew(this.path, path)
        return path
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
    }
  }
}

/**
 * Throws if the target must not be written or replaced. To be called before anything is written, and again before the file gets its
 * final name. All reasons that forbid to replace a file are checked here.
 */
export async function refuseToReplace(file: string, force: boolean): Promise<void> {
  const existing = await refuseForm(file)
  if (existing === null) return
  if (!force) throw alreadyThere('exists', file)
  refuseIfRead(existing, file)
  await (await holdUnused(file))?.close()
}

/** Throws USAGE if no file of ours may have this name. Resolves with what has it. */
async function refuseForm(file: string): Promise<Stats | null> {
  const existing = await lookAt(file)
  if (existing !== null && !existing.isFile() && !existing.isSymbolicLink()) {
    const what = existing.isBlockDevice()
      ? 'is a block device, which takes a raw image only'
      : 'exists and is not a file'
    throw new VmapipeError('USAGE', `'${file}' ${what}`, { file })
  }
  await refuseAmongDevices(file)
  return existing
}

/** Renames the file over another one, unless that is in use. A guest may have started on it since the first check; none can start meanwhile. */
export async function replaceUnused(from: string, to: string): Promise<void> {
  const old = await holdUnused(to)
  try {
    await renameOver(from, to)
  } finally {
    await old?.close()
  }
}

async function lookAt(path: string): Promise<Stats | null> {
  return lstat(pathOf(path)).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
}

function alreadyThere(what: string, file: string): VmapipeError {
  return new VmapipeError('FAILED', `'${file}' ${what} and was not overwritten`, {
    file,
    hint: 'choose another name, or allow it with --force',
  })
}

interface Place {
  path: string
  handle: FileHandle
}

async function placeIn(entry: PartialEntry, target: string): Promise<Place> {
  if (!entry.isFolder) return { path: entry.path, handle: entry.file }
  const path = join(entry.path, basename(target))
  try {
    return { path, handle: await openNew(path) }
  } catch (error) {
    await entry.remove()
    throw error
  }
}
