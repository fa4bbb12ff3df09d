/**
 * Writes files of a guest into a new folder. All of them may be hostile, so nothing is made outside of it:
 *
 * - The folder is made beside its final name, and is its owner's alone. Nobody else has put anything into it.
 * - Symlinks are made last, so no file is ever written through one. One that would lead out of the folder is left out.
 * - Devices, pipes and sockets are left out. Nothing is setuid, and everything belongs to the user who extracts.
 */

import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import {
  chmod,
  type FileHandle,
  link,
  lutimes,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  symlink,
  utimes,
} from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { bytesOf } from '../../core/byte-text.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { makeFolder, syncFolder } from '../../storage/folder.ts'
import { writeAll } from '../../system/write-all.ts'
import type { FileEntry, FileItem } from './entry.ts'

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
/** The most things left out that are named one by one. */
const MOST_NAMED = 10

/** How much was extracted. Bytes are those of the files' contents; left out is what `warn` was told of. */
export interface Extracted {
  files: number
  folders: number
  links: number
  bytes: number
  leftOut: number
}

/** The folder gets its name when all is in it. Throws USAGE if it has something in it already. */
export async function extractInto(
  folder: string,
  items: AsyncIterable<FileItem>,
  warn: (message: string) => void,
): Promise<Extracted> {
  await refuseUsed(folder)
  const made = await makeFolder(dirname(folder))
  const temporary = join(
    dirname(folder),
    `.${basename(folder).slice(0, 200)}.${randomBytes(6).toString('hex')}.partial`,
  )
  await mkdir(temporary, 0o700)
  try {
    const extraction = new Extraction(temporary, warn)
    for await (const item of items) await extraction.add(item)
    const outcome = await extraction.finish()
    await rename(temporary, folder)
    await syncFolder(dirname(folder), folder)
    return outcome
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    for (const path of made) await rm(path, { recursive: false }).catch(() => {})
    throw error
  }
}

async function refuseUsed(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error) => {
    if (error.code === 'ENOENT') return []
    throw asVmapipeError(error, { file: folder })
  })
  if (names.length === 0) return
  throw new VmapipeError('USAGE', `the folder '${folder}' has something in it`, { hint: 'name a new one' })
}

class Extraction {
  readonly #root: Buffer
  readonly #warn: (message: string) => void
  /** Regular files, which a hard link may name. */
  readonly #files = new Set<string>()
  readonly #folders = new Map<string, FileEntry | null>([['', null]])
  readonly #symlinks = new Map<string, FileEntry>()
  readonly #outcome: Extracted = { files: 0, folders: 0, links: 0, bytes: 0, leftOut: 0 }

  constructor(root: string, warn: (message: string) => void) {
    this.#root = Buffer.from(root)
    this.#warn = warn
  }

  async add(item: FileItem): Promise<void> {
    const { path, type, link: target = '' } = item
    if (type === 'folder') {
      if (!(await this.#folder(path, item))) this.#leaveOut(path, 'is another thing too')
      return
    }
    if (this.#files.has(path) || this.#folders.has(path) || this.#symlinks.has(path))
      return this.#leaveOut(path, 'comes twice')
    if (type === 'other') return this.#leaveOut(path, 'is a device, a pipe or a socket')
    if (!(await this.#folder(parentOf(path), null))) return this.#leaveOut(path, 'is in something that is no folder')
    if (type === 'symlink') {
      if (!staysWithin(path, target))
        return this.#leaveOut(path, `is a symlink that leads out of the folder, to '${target}'`)
      this.#symlinks.set(path, { ...item })
    } else if (type === 'hardlink') {
      if (!this.#files.has(target)) return this.#leaveOut(path, `is another name of '${target}', which is not here`)
      await link(this.#at(target), this.#at(path))
      this.#files.add(path)
      this.#outcome.files++
    } else await this.#file(item)
  }

  /** Makes the symlinks, and gives folders their permissions and times, the innermost first. */
  async finish(): Promise<Extracted> {
    for (const [path, { link: target = '', mtime }] of this.#symlinks) {
      await symlink(bytesOf(target), this.#at(path))
      await lutimes(this.#at(path), mtime, mtime).catch(() => {})
      this.#outcome.links++
    }
    for (const [path, entry] of [...this.#folders].reverse()) {
      if (entry === null) continue
      await chmod(this.#at(path), (entry.mode & 0o777) | 0o700)
      await utimes(this.#at(path), entry.mtime, entry.mtime).catch(() => {})
    }
    const { leftOut } = this.#outcome
    if (leftOut > MOST_NAMED) this.#warn(`${leftOut - MOST_NAMED} more were left out`)
    return this.#outcome
  }

  async #file({ path, mode, mtime, content }: FileItem): Promise<void> {
    const file: FileHandle = await open(this.#at(path), NEW_FILE, 0o600)
    try {
      let offset = 0
      for await (const bytes of content) {
        await writeAll(file, [bytes], offset)
        offset += bytes.byteLength
      }
      this.#outcome.bytes += offset
      await file.chmod((mode & 0o777) | 0o400)
      // A time that this filesystem does not know is no reason to give up the file.
      await file.utimes(mtime, mtime).catch(() => {})
    } finally {
      await file.close()
    }
    this.#files.add(path)
    this.#outcome.files++
  }

  /** Makes the folder with those above it, if it is not there yet. False if one of them is something else. */
  async #folder(path: string, entry: FileEntry | null): Promise<boolean> {
    if (this.#folders.has(path)) {
      if (entry !== null) this.#folders.set(path, entry)
      return true
    }
    if (this.#files.has(path) || this.#symlinks.has(path)) return false
    if (!(await this.#folder(parentOf(path), null))) return false
    await mkdir(this.#at(path), 0o700)
    this.#folders.set(path, entry)
    this.#outcome.folders++
    return true
  }

  #leaveOut(path: string, reason: string): void {
    if (++this.#outcome.leftOut <= MOST_NAMED) this.#warn(`'/${path}' ${reason}: left out`)
  }

  #at(path: string): Buffer {
    return path === '' ? this.#root : Buffer.concat([this.#root, Buffer.from('/'), bytesOf(path)])
  }
}

function parentOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : ''
}

/**
 * Whether a symlink at this path leads to something within the folder. Steps up count from the folders that it is in, which are real. Behind
 * a name there may be none: the name may be another symlink.
 */
export function staysWithin(path: string, target: string): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return false
  const parts = target.split('/').filter((part) => part !== '' && part !== '.')
  const first = parts.findIndex((part) => part !== '..')
  const up = first < 0 ? parts.length : first
  return up <= path.split('/').length - 1 && !parts.slice(up).includes('..')
}
