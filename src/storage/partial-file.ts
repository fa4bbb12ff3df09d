/**
 * A file that gets its name only when it is complete. Until then it has a temporary name beside the final one that
 * says whose it is: `.disk.raw.PID-1.partial`.
 */

import { rmSync } from 'node:fs'
import { type FileHandle, link, lstat, open, readdir, rename, unlink } from 'node:fs/promises'
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
  /** The temporary path, absolute. */
  readonly path: string
  readonly handle: FileHandle
  readonly #target: string
  readonly #force: boolean
  #published = false

  private constructor(target: string, path: string, handle: FileHandle, force: boolean) {
    this.#target = target
    this.path = path
    this.handle = handle
    this.#force = force
  }

  static async create(target: string, { force = false, warn }: PartialFileOptions = {}): Promise<PartialFile> {
    const absolute = resolve(target)
    const existing = await lstat(absolute).catch(() => null)
    if (existing && !force) throw alreadyThere(target)
    if (existing && !existing.isFile() && !existing.isSymbolicLink()) {
      throw new VmapipeError('USAGE', 'it exists and is not a file', { file: target })
    }
    if (warn) await nameLeftovers(absolute, warn)
    try {
      const { path, handle } = await openNew(absolute)
      // What was private stays private.
      if (existing?.isFile()) await handle.chmod(existing.mode & 0o777)
      return new PartialFile(absolute, path, handle, force)
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
      forget(this.path)
      await syncFolder(dirname(this.#target))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw alreadyThere(this.#target)
      throw asVmapipeError(error, { file: this.#target })
    }
  }

  /** Closes the file, and removes it unless it was published. */
  async close(): Promise<void> {
    await this.handle.close()
    if (this.#published || !unpublished.has(this.path)) return
    forget(this.path)
    await unlink(this.path).catch((error) => {
      if (error.code !== 'ENOENT') throw asVmapipeError(error)
    })
  }
}

function alreadyThere(file: string): VmapipeError {
  return new VmapipeError('FAILED', 'it exists already', { file, hint: '--force replaces it' })
}

/** O_EXCL: neither somebody else's file nor a planted symbolic link is opened. In containers process ids repeat. */
async function openNew(target: string): Promise<{ path: string; handle: FileHandle }> {
  for (let attempt = 1; ; attempt++) {
    const path = join(dirname(target), `${prefix(target)}${process.pid}-${++counter}.partial`)
    try {
      const handle = await open(path, 'wx+')
      remember(path)
      return { path, handle }
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
  for (const path of unpublished) rmSync(path, { force: true })
}
