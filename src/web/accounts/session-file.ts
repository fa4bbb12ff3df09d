/**
 * Keeps sessions of the page over a restart: sessions.json in the folder of the page's state, mode 0600, with hashes of their cookies. One process
 * at a time has it: what another has ended must not come back.
 */

import { type FileHandle, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { VmapipeError } from '../../core/errors.ts'
import type { KeptSession, SessionStore } from '../../fleet/fleet.ts'
import { writeWhole } from '../../jobs/state/files.ts'
import { ownFolder } from '../../jobs/state/folders.ts'
import { lockFile } from '../../storage/partial-lock.ts'

const KEPT = z.strictObject({
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  expires: z.number(),
  content: z.record(z.string(), z.unknown()),
})
const FILE = z.strictObject({ version: z.literal(1), sessions: z.array(KEPT) })

export class SessionFile implements SessionStore {
  readonly #path: string
  readonly #lock: FileHandle
  readonly #kept = new Map<string, KeptSession>()

  private constructor(folder: string, lock: FileHandle) {
    this.#path = join(folder, 'sessions.json')
    this.#lock = lock
  }

  /** Null if another process has it. */
  static async open(folder: string): Promise<SessionFile | null> {
    await ownFolder(folder)
    const lock = await open(join(folder, 'sessions.lock'), 'a', 0o600)
    if ((await lockFile(lock)) !== 'busy') return new SessionFile(folder, lock)
    await lock.close()
    return null
  }

  /** Errors: CONFIG if the file is damaged. It is written anew then. */
  async read(): Promise<KeptSession[]> {
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null
      throw error
    })
    if (text === null) return []
    try {
      for (const one of FILE.parse(JSON.parse(text)).sessions) this.#kept.set(one.hash, one)
    } catch (cause) {
      throw new VmapipeError('CONFIG', `'${this.#path}' is damaged`, { cause })
    }
    return [...this.#kept.values()]
  }

  async write(kept: readonly KeptSession[], gone: readonly string[]): Promise<void> {
    for (const one of kept) this.#kept.set(one.hash, one)
    for (const hash of gone) this.#kept.delete(hash)
    const content: z.infer<typeof FILE> = { version: 1, sessions: [...this.#kept.values()] }
    await writeWhole(this.#path, JSON.stringify(content))
  }

  async close(): Promise<void> {
    await this.#lock.close()
  }
}
