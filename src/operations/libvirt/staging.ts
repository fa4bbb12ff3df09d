/**
 * The hidden folder beside the images of a guest that is restored: `.NAME.vmapipe-restore`. Images become whole there. Then a note of
 * them is written, they get their names, and the domain is defined. If this fails, what has got a name is removed. If it is killed, the
 * next run for this guest finds the note and does the same. So either the domain is defined and all of its files are there, or none is.
 */

import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, readFile, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { refuseShared, syncFolder } from '../../storage/folder.ts'
import { lockFile } from '../../storage/partial-lock.ts'
import { renameToNew } from '../../storage/rename-file.ts'

/** A file that is to get its name. */
export interface Placed {
  /** Its name in the folder of the staging. */
  file: string
  /** Its final path. */
  path: string
}

/** What the note says of one. */
interface Noted {
  path: string
  dev: string
  ino: string
}

interface Note {
  uuid: string
  files: Noted[]
}

const NOTE = 'placed.json'
const LOCK = 'lock'
/** Bytes of a note. */
const MAX_NOTE = 1 << 20

/** Whether libvirt has a domain of this uuid, whose definition names this path. */
export type IsDefined = (uuid: string, path: string) => Promise<boolean>

export class Staging {
  readonly path: string
  readonly #lock: FileHandle
  #placed: Noted[] = []

  private constructor(path: string, lock: FileHandle) {
    this.path = path
    this.#lock = lock
  }

  /**
   * Makes it, or takes what a killed run has left and clears it. `name`: of the guest, as a part of a file's name. FAILED if another
   * run has it.
   */
  static async open(
    folder: string,
    name: string,
    isDefined: IsDefined,
    keep: readonly string[] = [],
  ): Promise<Staging> {
    const path = join(folder, `.${name}.vmapipe-restore`)
    await refuseShared(folder, [path], 'name another folder or pool')
    await mkdir(path, { mode: 0o700 }).catch((error) => {
      if (error.code !== 'EEXIST') throw asVmapipeError(error, { file: path })
    })
    if (!(await lstat(path)).isDirectory()) throw new VmapipeError('FAILED', `'${path}' is in the way`, { file: path })
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
    const lock = await open(join(path, LOCK), flags, 0o600)
    const staging = new Staging(path, lock)
    try {
      if ((await lockFile(lock)) === 'busy' || !(await staging.#isThere()))
        throw new VmapipeError('FAILED', 'another restore of this guest works there', {
          file: path,
          hint: 'wait until it has ended',
        })
      await staging.#clear(isDefined, keep)
      return staging
    } catch (error) {
      await lock.close()
      throw error
    }
  }

  file(name: string): string {
    return join(this.path, name)
  }

  /** Gives the files their names, which no file may have. They are durable already. */
  async place(uuid: string, files: readonly Placed[]): Promise<void> {
    const noted: Noted[] = []
    for (const { file, path } of files) {
      const { dev, ino } = await lstat(this.file(file), { bigint: true })
      noted.push({ path, dev: String(dev), ino: String(ino) })
    }
    await this.#write(JSON.stringify({ uuid, files: noted } satisfies Note))
    this.#placed = noted
    for (const { file, path } of files) {
      await renameToNew(this.file(file), path).catch((error) => {
        if (error.code !== 'EEXIST') throw asVmapipeError(error, { file: path })
        throw new VmapipeError('FAILED', `'${path}' has appeared meanwhile, and was not overwritten`, { file: path })
      })
      await unlink(this.file(file)).catch(() => {})
    }
    for (const folder of new Set(files.map(({ path }) => dirname(path)))) await syncFolder(folder, folder)
  }

  /** Removes what has got a name, because the domain could not be defined. */
  async takeBack(): Promise<void> {
    for (const noted of this.#placed) await removeIfSame(noted)
    this.#placed = []
  }

  /** Removes a file that was kept for a run that goes on. */
  forget(name: string): Promise<void> {
    return rm(this.file(name), { force: true })
  }

  /** Removes the folder and all that is in it. */
  async remove(): Promise<void> {
    // The lock is held until the name is gone, so that no run works in a folder that is being removed.
    await rm(this.path, { recursive: true, force: true, maxRetries: 3 })
    await this.#lock.close()
    await syncFolder(dirname(this.path), this.path).catch(() => {})
  }

  /** Leaves the folder as it is, for a run that goes on. */
  leave(): Promise<void> {
    return this.#lock.close()
  }

  async #isThere(): Promise<boolean> {
    const [held, named] = [await this.#lock.stat(), await lstat(join(this.path, LOCK)).catch(() => null)]
    return named?.ino === held.ino && named.dev === held.dev
  }

  async #clear(isDefined: IsDefined, keep: readonly string[]): Promise<void> {
    const note = await this.#note()
    if (note !== null && !(await isFinished(note, isDefined))) for (const noted of note.files) await removeIfSame(noted)
    for (const name of await readdir(this.path)) {
      if (name !== LOCK && !keep.includes(name)) await rm(this.file(name), { recursive: true, force: true })
    }
  }

  /** Null if there is none, or a run was killed while it wrote it: then no file has got a name. */
  async #note(): Promise<Note | null> {
    const stats = await lstat(this.file(NOTE)).catch(() => null)
    if (stats === null || !stats.isFile() || stats.size > MAX_NOTE) return null
    try {
      const note = JSON.parse(await readFile(this.file(NOTE), 'utf8')) as Note
      return Array.isArray(note.files) && typeof note.uuid === 'string' ? note : null
    } catch {
      return null
    }
  }

  async #write(text: string): Promise<void> {
    const file = await open(this.file(NOTE), 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await syncFolder(this.path, this.path)
  }
}

/** A path that no file has: with a number before its suffix if it must be. */
export async function freePath(path: string): Promise<string> {
  const [, stem, suffix] = /^(.*?)(\.[^.]*)?$/.exec(basename(path))!
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? path : join(dirname(path), `${stem}-${number}${suffix ?? ''}`)
    if ((await lstat(candidate).catch(() => null)) === null) return candidate
  }
}

/** The run was killed when all was done. */
async function isFinished({ uuid, files }: Note, isDefined: IsDefined): Promise<boolean> {
  for (const { path } of files) if (await isDefined(uuid, path)) return true
  return false
}

async function removeIfSame({ path, dev, ino }: Noted): Promise<void> {
  const there = await lstat(path, { bigint: true }).catch(() => null)
  if (there === null || String(there.dev) !== dev || String(there.ino) !== ino) return
  await unlink(path).catch((error) => {
    throw asVmapipeError(error, { file: path })
  })
}
