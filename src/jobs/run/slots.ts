/**
 * What only so many backups may use at once on this host, whichever run they belong to: a guest, a place, a disk, the host itself. A use
 * is a lock on a file, which the kernel drops when the process ends, however it ends.
 */

import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { asVmapipeError } from '../../core/errors.ts'
import { lockFile } from '../../storage/partial-lock.ts'

/** Something with a number of slots, such as `{ name: 'place:/srv/backup', count: 2 }`. */
export interface Limit {
  name: string
  count: number
}

/** Slots that are held. */
export interface Held {
  release(): Promise<void>
}

/** Slots of this process: where the filesystem has no locks, they are all that is known. */
const taken = new Set<string>()

export class Slots {
  readonly #folder: string

  /** `folder`: that of the locks, which is there. */
  constructor(folder: string) {
    this.#folder = folder
  }

  /** Takes one slot of each; returns the name of the first that has none left, and takes none then. Errors: FAILED. */
  async take(limits: readonly Limit[]): Promise<Held | { full: string }> {
    const held: { path: string; file: FileHandle }[] = []
    const release = async () => {
      for (const { path, file } of held.splice(0).reverse()) {
        taken.delete(path)
        await file.close()
      }
    }
    for (const limit of limits) {
      const slot = await this.#slotOf(limit).catch(async (error) => {
        await release()
        throw asVmapipeError(error)
      })
      if (slot === null) {
        await release()
        return { full: limit.name }
      }
      held.push(slot)
    }
    return { release }
  }

  async #slotOf({ name, count }: Limit): Promise<{ path: string; file: FileHandle } | null> {
    for (let number = 0; number < count; number++) {
      const path = this.#pathOf(name, number)
      if (taken.has(path)) continue
      taken.add(path)
      const file = await open(path, 'a', 0o600).catch((error) => {
        taken.delete(path)
        throw error
      })
      if ((await lockFile(file)) !== 'busy') return { path, file }
      taken.delete(path)
      await file.close()
    }
    return null
  }

  /** Names of guests may have any characters, and of two runs the file must be the same. */
  #pathOf(name: string, number: number): string {
    return join(this.#folder, `${createHash('sha256').update(name).digest('hex').slice(0, 32)}.${number}.lock`)
  }
}
