/**
 * The temporary entry beside a file that is being written: a file under a temporary name, or a folder of that name for formats that
 * write the file's own name into themselves. It is locked as long as we run (a folder by a file in it). Only its owner may use it. It
 * is removed when we end, unless we are killed.
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

/** Attempts to create an entry. Another run that removes abandoned files may remove one that is not locked yet. */
const ATTEMPTS = 10

/** Milliseconds that a folder may take to become empty: FUSE and NFS remove a file that was open some time after it was closed. */
const LETTING_GO_MS = 2000

export class PartialEntry {
  readonly path: string
  /** The name as bytes. */
  readonly name: Buffer
  readonly place: string
  /** The file that has the lock: the entry itself, or a file in the folder. */
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

  /** Creates an entry in `folder` for a file that will have the name `name`. */
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
    throw new VmapipeError('FAILED', 'another program removes the files that we write there', { file: folder })
  }

  /** An entry that is not locked yet. For `create` only. */
  static made(path: string, name: Buffer, place: string, file: FileHandle, isFolder: boolean): PartialEntry {
    return new PartialEntry(path, name, place, file, isFolder)
  }

  /** Whether the entry still has its name. */
  async isInPlace(): Promise<boolean> {
    const there = await lstat(this.#lockPath).catch(() => null)
    return there !== null && isSame(await this.file.stat(), there)
  }

  /** Closes and removes the entry, unless something else has its name now. Never throws: returns the reason why something is left. */
  async remove(): Promise<string | null> {
    if (this.#gone) return null
    this.#gone = true
    try {
      const ours = await this.isInPlace().catch(() => true)
      // The file is closed first. FUSE and NFS keep an open file that is removed, under another name in its folder.
      await this.file.close()
      if (ours) await removeEntry(this.path, this.isFolder)
      return null
    } catch (error) {
      return describe(error as NodeJS.ErrnoException)
    } finally {
      keptAtExit(this)
    }
  }

  /** Removes the entry without closing the file, for when a write may never return. */
  async removeUnclosed(): Promise<void> {
    if (await this.isInPlace()) await removeEntry(this.path, this.isFolder)
  }

  /** Removes the entry synchronously, when the process ends. */
  removeNow(): void {
    const there = lstatSync(this.#lockPath, { throwIfNoEntry: false })
    // The file is closed already if `remove` is running.
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
    // Another run has taken the empty folder for an abandoned one and removed it.
    if (isFolder && (error as NodeJS.ErrnoException).code === 'ENOENT') return null
    if (isFolder) await rmdir(path).catch(() => {})
    throw error
  }
}

/**
 * Creates a file that only its owner may read and write, whatever the umask is. With O_EXCL neither another user's file nor a planted
 * symbolic link is opened. Some filesystems, such as FAT, keep the permissions that they were mounted with.
 */
export async function openNew(path: string): Promise<FileHandle> {
  const file = await open(path, NEW_FILE, 0o600)
  const { mode } = await file.stat()
  if ((mode & 0o777) !== 0o600) await file.chmod(0o600).catch(() => {})
  return file
}

/** The name of the lock file in a folder of this temporary name. No image has such a name. */
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
 * Removes the file, or the folder with the files in it, the lock file last. Never removes folders in the folder. Files that are gone
 * already are no error.
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

/** Removes the files of a folder, and the lock file last, or not at all with `butLock`. */
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

/** Opens a folder, but not a symbolic link that another user has put in its place. */
const FOLDER_ITSELF = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

/** A path to the open folder, which is right even if something else has its name now. Null on systems without such paths. */
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

/** Removes all entries of ours. If one cannot be removed, the others still are. */
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
    // Standard error is closed.
  }
}
