/**
 * A file that gets its name only when it is complete. Until then it has a temporary name beside the final one that
 * says whose it is: `.disk.raw.PID-1.partial`. That is the file, or a folder with the file in it under its final name,
 * for formats that write their own name into themselves.
 */

import { rmSync } from 'node:fs'
import { type FileHandle, link, lstat, mkdir, open, readdir, rename, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'

export interface PartialFileOptions {
  /** A file that has the final name is replaced. */
  force?: boolean
  /** Told of what an earlier run left behind. */
  warn?: (message: string) => void
}

/** Temporary names of this process; what is left of them when it exits is removed. */
const unpublished = new Set<string>()
let counter = 0

export class PartialFile {
  /** The file's path for the time being, absolute. */
  readonly path: string
  readonly handle: FileHandle
  /** What is to be removed: the file, or the folder that it is in. */
  readonly #temporary: string
  readonly #target: string
  readonly #force: boolean
  #published = false

  private constructor(target: string, { temporary, path, handle }: Place, force: boolean) {
    this.#target = target
    this.#temporary = temporary
    this.path = path
    this.handle = handle
    this.#force = force
  }

  static async create(
    target: string,
    { force = false, warn }: PartialFileOptions = {},
    { inFolder = false } = {},
  ): Promise<PartialFile> {
    const absolute = resolve(target)
    const existing = await lstat(absolute).catch(() => null)
    if (existing && !force) throw alreadyThere(target)
    if (existing && !existing.isFile() && !existing.isSymbolicLink()) {
      throw new VmapipeError('USAGE', 'it exists and is not a file', { file: target })
    }
    if (warn) await nameLeftovers(absolute, warn)
    try {
      const place = await openNew(absolute, inFolder)
      // What was private stays private.
      if (existing?.isFile()) await place.handle.chmod(existing.mode & 0o777)
      return new PartialFile(absolute, place, force)
    } catch (error) {
      throw asVmapipeError(error, { file: target })
    }
  }

  /** Gives the file its final name, durably. Its content must have been synced before. */
  async publish(): Promise<void> {
    if (this.#published) return
    try {
      if (this.#force) await rename(this.path, this.#target)
      else await renameNew(this.path, this.#target)
      this.#published = true
      await this.#remove()
      await syncFolder(dirname(this.#target))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw alreadyThere(this.#target)
      throw asVmapipeError(error, { file: this.#target })
    }
  }

  /** Closes the file, and removes it unless it was published. */
  async close(): Promise<void> {
    await this.handle.close()
    await this.#remove()
  }

  async #remove(): Promise<void> {
    if (!unpublished.has(this.#temporary)) return
    forget(this.#temporary)
    await rm(this.#temporary, { recursive: true, force: true })
  }
}

function alreadyThere(file: string): VmapipeError {
  return new VmapipeError('FAILED', 'it exists already', { file, hint: '--force replaces it' })
}

interface Place {
  temporary: string
  path: string
  handle: FileHandle
}

/** O_EXCL: neither somebody else's file nor a planted symbolic link is opened. In containers process ids repeat. */
async function openNew(target: string, inFolder: boolean): Promise<Place> {
  for (let attempt = 1; ; attempt++) {
    const temporary = join(dirname(target), `${prefix(target)}${process.pid}-${++counter}.partial`)
    try {
      if (inFolder) await mkdir(temporary, 0o700)
      const path = inFolder ? join(temporary, basename(target)) : temporary
      const handle = await open(path, 'wx+')
      remember(temporary)
      return { temporary, path, handle }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt === 1000) throw error
    }
  }
}

/** Short enough for any filesystem, whatever the name. */
function prefix(target: string): string {
  return `.${basename(target).slice(0, 50)}.`
}

/** rename that never replaces a file, not even one that appeared a moment ago. */
async function renameNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (!['EPERM', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code!)) throw error
    // A filesystem without hard links: reserve the name, then replace what is ours.
    await (await open(to, 'wx')).close()
    await rename(from, to)
    return
  }
  await unlink(from)
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } catch (error) {
    // Some network filesystems have no such thing.
    if (!['EINVAL', 'EOPNOTSUPP', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code!)) throw error
  } finally {
    await folder.close()
  }
}

/** Partial files of processes that are no more; they may belong to another host, so they are named, not removed. */
async function nameLeftovers(target: string, warn: (message: string) => void): Promise<void> {
  const names = await readdir(dirname(target)).catch(() => [])
  for (const name of names) {
    if (!name.startsWith(prefix(target)) || !name.endsWith('.partial')) continue
    const pid = /^(\d+)-\d+$/.exec(name.slice(prefix(target).length, -'.partial'.length))?.[1]
    const path = join(dirname(target), name)
    if (pid === undefined || unpublished.has(path)) continue
    if (Number(pid) === process.pid || !isRunning(Number(pid))) {
      warn(`an earlier run left ${path} behind; it can be removed`)
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function remember(path: string): void {
  unpublished.add(path)
  if (unpublished.size === 1) process.on('exit', removeAll)
}

function forget(path: string): void {
  unpublished.delete(path)
  if (unpublished.size === 0) process.off('exit', removeAll)
}

function removeAll(): void {
  for (const path of unpublished) rmSync(path, { recursive: true, force: true })
}
