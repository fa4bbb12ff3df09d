/** What a guest waits for while its disks are restored: reads of bytes that are in the archive alone. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { DriveExtent, DriveReader } from '../../storage/drive.ts'

/** Milliseconds that the rest waits after a guest's read: the guest is likely to read again. */
const PATIENCE_MS = 5

export class Demand {
  #reading = 0
  #last = Number.NEGATIVE_INFINITY
  #idle: (() => void)[] = []

  /** Resolves when no read of a guest waits for the archive. */
  async idle(): Promise<void> {
    while (this.#reading > 0) await new Promise<void>((go) => this.#idle.push(go))
  }

  /** Resolves when no read of a guest has waited for the archive for a moment. */
  async quiet(): Promise<void> {
    for (;;) {
      await this.idle()
      const patience = this.#last + PATIENCE_MS - performance.now()
      if (patience <= 0) return
      await sleep(patience)
    }
  }

  async of(read: Promise<void>): Promise<void> {
    this.#reading++
    try {
      await read
    } finally {
      this.#last = performance.now()
      if (--this.#reading === 0) for (const go of this.#idle.splice(0)) go()
    }
  }
}

/** A drive of the archive as the guest's disk reads it; `wanted` is called before each read. */
export class DemandedDrive implements DriveReader {
  readonly #drive: DriveReader
  readonly #demand: Demand
  readonly #wanted: (offset: number, length: number) => void

  constructor(drive: DriveReader, demand: Demand, wanted: (offset: number, length: number) => void) {
    this.#drive = drive
    this.#demand = demand
    this.#wanted = wanted
  }

  get size(): number {
    return this.#drive.size
  }

  read(buffer: Uint8Array, offset: number): Promise<void> {
    this.#wanted(offset, buffer.byteLength)
    return this.#demand.of(this.#drive.read(buffer, offset))
  }

  map(offset: number, length: number): AsyncIterable<DriveExtent> {
    return this.#drive.map(offset, length)
  }

  close(): Promise<void> {
    return this.#drive.close()
  }
}
