/**
 * Notes which archives a prune of the planner is about to remove. An agent that is killed before its end is on disk is given the prune again, and
 * finds these archives gone: without the notes it would say that nothing was removed.
 */

import { createHash } from 'node:crypto'
import { mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { openPlace } from '../../storage/archive/open-place.ts'

interface Removal {
  place: string
  /** Bytes. */
  size: number
}

/** A work that was not given again for so long will not be. */
const KEPT_MS = 31 * 86_400_000

export class Removals {
  readonly #file: string
  readonly #before: readonly Removal[]

  private constructor(file: string, before: readonly Removal[]) {
    this.#file = file
    this.#before = before
  }

  /** Opens the notes of a work in this folder. Notes that cannot be read are none. */
  static async open(folder: string, work: string): Promise<Removals> {
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch(() => {})
    await removeOld(folder)
    const file = join(folder, `${createHash('sha256').update(work).digest('hex').slice(0, 32)}.jsonl`)
    const text = await readFile(file, 'utf8').catch(() => '')
    return new Removals(file, text.split('\n').flatMap(removalIn))
  }

  /** Resolves when it is on disk. Errors are those of the system. */
  async add({ place, size }: Removal): Promise<void> {
    const file = await open(this.#file, 'a', 0o600)
    try {
      await file.writeFile(`${JSON.stringify([place, size])}\n`)
      await file.datasync()
    } finally {
      await file.close()
    }
  }

  /** What earlier attempts have removed. */
  async earlier(): Promise<Removal[]> {
    const gone: Removal[] = []
    for (const one of new Map(this.#before.map((removal) => [removal.place, removal])).values()) {
      const there = await openPlace(one.place)
        .stat?.()
        .catch(() => undefined)
      if (there === null) gone.push(one)
    }
    return gone
  }
}

/** A line that was cut is of an archive that was not touched. */
function removalIn(line: string): Removal[] {
  try {
    const [place, size] = JSON.parse(line) as unknown[]
    return typeof place === 'string' && typeof size === 'number' ? [{ place, size }] : []
  } catch {
    return []
  }
}

async function removeOld(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name)
    const { mtimeMs } = (await stat(path).catch(() => null)) ?? { mtimeMs: Date.now() }
    if (Date.now() - mtimeMs > KEPT_MS) await rm(path, { force: true }).catch(() => {})
  }
}
