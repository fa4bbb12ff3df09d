/**
 * Writes a copy of an archive to a file, in a file `NAME.copying` until it is complete. What an interrupted copy has written stays there, and
 * the next one goes on behind it. The file is locked while it is written.
 */

import { constants } from 'node:fs'
import { type FileHandle, lstat, open, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { totalLength } from '../../core/items.ts'
import { writeAll } from '../../system/write-all.ts'
import { syncFolder } from '../folder.ts'
import { refuseToReplace, replaceUnused } from '../partial-file.ts'
import { lockFile } from '../partial-lock.ts'
import { renameToNew } from '../rename-file.ts'

const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants

export class ResumableFile {
  readonly #path: string
  readonly #force: boolean
  readonly #file: FileHandle
  /** Bytes that are there from before. */
  readonly left: number
  #position: number

  private constructor(path: string, force: boolean, file: FileHandle, left: number) {
    this.#path = path
    this.#force = force
    this.#file = file
    this.left = left
    this.#position = left
  }

  /** Errors: FAILED if the archive is there, or if another run writes it. */
  static async open(path: string, { force = false }: { force?: boolean } = {}): Promise<ResumableFile> {
    await refuseToReplace(path, force)
    const temporary = temporaryName(path)
    const file = await open(temporary, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600).catch((error) => {
      throw asVmapipeError(error, { file: temporary })
    })
    try {
      const stats = await file.stat()
      if (!stats.isFile()) throw new VmapipeError('FAILED', `'${temporary}' is no file`, { hint: 'remove it' })
      if ((await lockFile(file)) === 'busy') {
        throw new VmapipeError('FAILED', `'${path}' is being written by another copy`, {
          hint: 'wait until it has ended',
        })
      }
      // Another copy may have finished it between the opening and the lock.
      const named = await lstat(temporary).catch(() => null)
      if (named?.ino !== stats.ino || named.dev !== stats.dev)
        throw new VmapipeError('FAILED', `'${path}' has just been written by another copy`, {
          hint: 'look at it first',
        })
      return new ResumableFile(path, force, file, stats.size)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Reads what is there from before. Returns the number of bytes. */
  async read(buffer: Uint8Array, offset: number): Promise<number> {
    return (await this.#file.read(buffer, 0, buffer.byteLength, offset)).bytesRead
  }

  /** Drops what is there from before. */
  async clear(): Promise<void> {
    await this.#file.truncate(0)
    this.#position = 0
  }

  async write(buffers: readonly Uint8Array[]): Promise<void> {
    const position = this.#position
    this.#position += totalLength(buffers)
    try {
      await writeAll(this.#file, buffers, position)
    } catch (error) {
      throw asVmapipeError(error, { file: this.#path, offset: position })
    }
  }

  /** Makes it durable. */
  async settle(): Promise<void> {
    await this.#file.sync()
  }

  /** Gives it its name. */
  async finish(): Promise<void> {
    await this.#file.sync()
    const temporary = temporaryName(this.#path)
    if (this.#force) await replaceUnused(temporary, this.#path)
    else {
      await renameToNew(temporary, this.#path).catch((error) => {
        if (error.code !== 'EEXIST') throw asVmapipeError(error, { file: this.#path })
        throw new VmapipeError('FAILED', `'${this.#path}' exists and was not overwritten`, {
          hint: '--force replaces it',
        })
      })
      await unlink(temporary).catch(() => {})
    }
    await syncFolder(dirname(this.#path), dirname(this.#path))
  }

  /** Removes what was written, as it is no part of this archive. */
  async discard(): Promise<void> {
    await unlink(temporaryName(this.#path)).catch(() => {})
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

function temporaryName(path: string): string {
  return `${path}.copying`
}
