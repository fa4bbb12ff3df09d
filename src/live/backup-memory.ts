/** The memory of a service's backups: in one piece, which other processes may look into where the system can do that. */

import { setImmediate as otherEvents } from 'node:timers/promises'
import { Arena } from '../core/arena.ts'
import { SharedMemory, type SharedPlace } from '../system/shared-memory.ts'
import { syscalls } from '../system/syscalls.ts'

/** Bytes: it takes a fraction of a millisecond. */
const FORGOTTEN_AT_ONCE = 2 << 20

export class BackupMemory {
  /** Undefined where the system does not promise so much at once: backups then take theirs piece by piece. */
  readonly arena: Arena | undefined
  readonly #shared: SharedMemory | null
  #closed = false

  constructor(bytes: number) {
    this.#shared = SharedMemory.create(Arena.room(bytes))
    this.arena = this.#shared === null ? arenaOf(bytes) : new Arena(this.#shared.memory)
  }

  /** Where other processes find it; null where they cannot. */
  get place(): SharedPlace | null {
    return this.#closed ? null : (this.#shared?.place ?? null)
  }

  /** All of it, where other processes can find it. */
  get shared(): Buffer | null {
    return this.#shared?.memory ?? null
  }

  /** The same once more, where a backup that was given up has kept some of it: nobody can tell who still reads into it. */
  renewed(): BackupMemory {
    if (this.arena?.isIdle !== false) return this
    this.close()
    return new BackupMemory(this.arena.memory.length)
  }

  /** The system may have it back until the next backup: bit by bit, as guests wait meanwhile. */
  async forget(): Promise<void> {
    const { arena } = this
    if (arena === undefined) return
    for (let at = 0; at < arena.memory.length && arena.isIdle && !this.#closed; at += FORGOTTEN_AT_ONCE) {
      const part = arena.memory.subarray(at, at + FORGOTTEN_AT_ONCE)
      if (this.#shared === null) syscalls()?.forget(part)
      else this.#shared.forget(part)
      await otherEvents()
    }
  }

  close(): void {
    this.#closed = true
    this.#shared?.close()
  }
}

function arenaOf(bytes: number): Arena | undefined {
  try {
    return Arena.of(bytes)
  } catch {
    return undefined
  }
}
