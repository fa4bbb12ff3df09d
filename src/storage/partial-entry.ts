/**
 * What stands beside a file while it is written: a file under a temporary name, or a folder of that name for formats that write
 * the file's own name into themselves. It is locked as long as we live (a folder by a file in it), for its owner alone, and
 * gone when we end in any way that lets us do something.
 */

import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  rmdirSync,
  type Stats,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { chmod, type FileHandle, lstat, mkdir, open, readdir, rmdir, unlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, VmapipeError } from '../core/errors.ts'
import { mayBeLeft } from '../core/left-behind.ts'
import { lockFile, placeOf } from './partial-lock.ts'
import { partialName, UNLOCKED } from './partial-name.ts'

const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

/** Whoever removes left-overs may meet an entry that is not locked yet. */
const ATTEMPTS = 10

/** A filesystem of FUSE or NFS lets go of a file that was open some time after it was closed, and of its folder then. */
const LETTING_GO_MS = 2000

export class PartialEntry {
  readonly path: string
  /** Its name: bytes, as folders hold them. */
  readonly name: Buffer
  readonly place: string
  /** The file, or the one in the folder that holds the lock. */
  readonly file: FileHandle
  readonly isFolder: boolean
  #gone = false

  private constructor(path: string, name: Buffer, place: string, file: FileHandle, isFolder: boolean) {
    this.path = path
    this.name = name
    this.place = place
    this.file = file
    this.isFolder = isFolder
    removedAtExit(this)
  }

  /** A new one in `folder` for what is to be called `name`. */
  static async create(folder: string, name: string, isFolder = false): Promise<PartialEntry> {
    let place = await placeOf(folder)
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const temporary = partialName(Buffer.from(name), place)
      const entry = await make(join(folder, temporary.toString()), temporary, place, isFolder)
      if (entry === null) continue
      const outcome = await lockFile(entry.file)
      const locked = outcome === 'held' || (outcome === 'none' && place === UNLOCKED)
      if (locked && (await entry.isInPlace())) return entry
      await entry.remove()
      if (outcome === 'none') place = UNLOCKED
    }
    throw new VmapipeError('FAILED', 'another program removes what is being written there', { file: folder })
  }

  /** Made, and not locked yet; null if somebody has removed the folder already. For `create` alone. */
  static made(path: string, name: Buffer, place: string, file: FileHandle, isFolder: boolean): PartialEntry {
    return new PartialEntry(path, name, place, file, isFolder)
  }

  /** Whether what has the name is still what was made. */
  async isInPlace(): Promise<boolean> {
    const there = await lstat(this.#lockPath).catch(() => null)
    return there !== null && isSame(await this.file.stat(), there)
  }

  /** Closes and removes it, unless something else has its name now. Never throws: gives the reason why something is left. */
  async remove(): Promise<string | null> {
    if (this.#gone) return null
    this.#gone = true
    try {
      const ours = await this.isInPlace().catch(() => true)
      // Closed first: FUSE and NFS keep a file that is open under another name, in its folder.
      await this.file.close()
      if (ours) await removeEntry(this.path, this.isFolder)
      return null
    } catch (error) {
      return describe(error as NodeJS.ErrnoException)
    } finally {
      keptAtExit(this)
    }
  }

  /** The same while the file may be in use, such as by a write that never returns. */
  async removeUnclosed(): Promise<void> {
    if (await this.isInPlace()) await removeEntry(this.path, this.isFolder)
  }

  /** The same when the process is about to end, and nothing can be waited for. */
  removeNow(): void {
    const there = lstatSync(this.#lockPath, { throwIfNoEntry: false })
    // Closed already if it is just being removed.
    const isOpen = this.file.fd >= 0
    if (there === undefined || (isOpen && !isSame(fstatSync(this.file.fd), there))) return
    if (this.isFolder) {
      const folder = openSync(this.path, FOLDER_ITSELF)
      const inside = insideOf(folder) ?? this.path
      for (const name of readdirSync(inside, { encoding: 'buffer' })) unlinkSync(within(inside, name))
      closeSync(folder)
      rmdirSync(this.path)
    } else unlinkSync(this.path)
  }

  get #lockPath(): string {
    return this.isFolder ? join(this.path, lockName(this.name)) : this.path
  }
}

async function make(path: string, name: Buffer, place: string, isFolder: boolean): Promise<PartialEntry | null> {
  if (isFolder) {
    await mkdir(path, 0o700)
    await chmod(path, 0o700).catch(() => {})
  }
  try {
    const file = await openNew(isFolder ? join(path, lockName(name)) : path)
    return PartialEntry.made(path, name, place, file, isFolder)
  } catch (error) {
    // An empty folder is taken for one that was left.
    if (isFolder && (error as NodeJS.ErrnoException).code === 'ENOENT') return null
    if (isFolder) await rmdir(path).catch(() => {})
    throw error
  }
}

/**
 * A new file for its owner alone, to read and write, whatever the umask takes away. O_EXCL: neither somebody else's file nor
 * a planted symbolic link is opened. Some filesystems, as FAT, have the permissions that they were mounted with.
 */
export async function openNew(path: string): Promise<FileHandle> {
  const file = await open(path, NEW_FILE, 0o600)
  const { mode } = await file.stat()
  if ((mode & 0o777) !== 0o600) await file.chmod(0o600).catch(() => {})
  return file
}

/** The file that holds the lock in a folder of this temporary name. No image is called so. */
export function lockName(name: Buffer): string {
  return name.toString('latin1').replace(/^.*\.([^.]+)\.partial$/s, '$1.lock')
}

export function isSame(a: Stats, b: Stats): boolean {
  return a.ino === b.ino && a.dev === b.dev
}

export function within(folder: string | Buffer, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(folder), Buffer.from('/'), name])
}

/**
 * Removes the file, or the folder with the files in it, its lock last; never what is in a folder therein. Something that is
 * gone already is no error.
 */
export async function removeEntry(path: string | Buffer, isFolder: boolean): Promise<void> {
  if (!isFolder) return unlinkIfThere(path)
  const end = performance.now() + LETTING_GO_MS
  for (let wait = 1; ; wait *= 2) {
    try {
      await removeContent(path)
      return await rmdir(path)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') return
      if (!['ENOTEMPTY', 'EEXIST', 'EBUSY'].includes(code ?? '') || performance.now() > end) throw error
      await sleep(wait)
    }
  }
}

/** The files in it. With `butLock` all but the one with the lock, otherwise that one last. */
export async function removeContent(path: string | Buffer, butLock = false): Promise<void> {
  const lock = Buffer.from(lockName(Buffer.from(basename(path.toString('latin1')), 'latin1')))
  const folder = await open(path, FOLDER_ITSELF)
  try {
    const inside = insideOf(folder.fd) ?? path
    const names = await readdir(inside, { encoding: 'buffer' })
    for (const name of names) if (!name.equals(lock)) await unlinkIfThere(within(inside, name))
    if (!butLock && names.some((name) => name.equals(lock))) await unlinkIfThere(within(inside, lock))
  } finally {
    await folder.close()
  }
}

/** Not what somebody who may write to the folder around it has linked to in its place. */
const FOLDER_ITSELF = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

/** A path to the folder that is open, whatever has its name by now; null on a system without such paths. */
function insideOf(fd: number): string | null {
  const path = `/proc/self/fd/${fd}`
  return existsSync(path) ? path : null
}

async function unlinkIfThere(path: string | Buffer): Promise<void> {
  await unlink(path).catch((error) => {
    if (error.code !== 'ENOENT') throw error
  })
}

const ours = new Map<PartialEntry, () => void>()

function removedAtExit(entry: PartialEntry): void {
  if (ours.size === 0) process.on('exit', removeOurs)
  const gone = mayBeLeft({ what: `'${entry.path}'`, remove: () => entry.removeUnclosed() })
  ours.set(entry, gone)
}

function keptAtExit(entry: PartialEntry): void {
  ours.get(entry)?.()
  if (ours.delete(entry) && ours.size === 0) process.off('exit', removeOurs)
}

/** Whatever is the matter with one, the others are removed. */
function removeOurs(): void {
  for (const entry of ours.keys()) {
    try {
      entry.removeNow()
    } catch (error) {
      sayLeft(entry.path, describe(error as NodeJS.ErrnoException))
    }
  }
}

function sayLeft(path: string, why: string): void {
  try {
    writeSync(2, `vmapipe: '${path}' is left: ${why}; the next run there removes it\n`)
  } catch {
    // Nobody hears it.
  }
}
