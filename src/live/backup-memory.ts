/** The memory of a service's backups, in one piece. It is shared memory if the system has that. */

import { setImmediate as otherEvents } from 'node:timers/promises'
import { Arena } from '../core/arena.ts'
import { SharedMemory, type SharedPlace } from '../system/shared-memory.ts'
import { syscalls } from '../system/syscalls.ts'

/** Bytes that are given back at once: this takes a fraction of a millisecond, in which no guest is answered. */
const FORGOTTEN_AT_ONCE = 2 << 20

export class BackupMemory {
  /** Undefined if the system refuses so much memory at once: backups then take theirs piece by piece. */
  readonly arena: Arena | undefined
  readonly #shared: SharedMemory | null
  #closed = false

  constructor(bytes: number) {
    this.#shared = SharedMemory.create(Arena.room(bytes))
    this.arena = this.#shared === null ? arenaOf(bytes) : new Arena(this.#shared.memory)
  }

  /** Where other processes find the memory; null if it is not shared. */
  get place(): SharedPlace | null {
    return this.#closed ? null : (this.#shared?.place ?? null)
  }

  /** All of the memory if it is shared, otherwise null. */
  get shared(): Buffer | null {
    return this.#shared?.memory ?? null
  }

  /** Itself, or new memory if a backup that was given up still holds some of this one: a late read may still write into it. */
  renewed(): BackupMemory {
    if (this.arena?.isIdle !== false) return this
    this.close()
    return new BackupMemory(this.arena.memory.length)
  }

  /** Gives the memory back to the system until the next backup, in small parts: guests wait during each of them. */
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
