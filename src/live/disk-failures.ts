/** What could not be read or written for a guest, told once each: a guest tries again, and again. */

import { asVmapipeError } from '../core/errors.ts'
import type { DiskFailure } from '../protocol/nbd/server/transmission.ts'

/** A guest on a disk full of damage should not fill a log. */
const MOST = 100

export class DiskFailures {
  readonly #warn: (message: string) => void
  readonly #told = new Set<string>()

  constructor(warn: (message: string) => void = () => {}) {
    this.#warn = warn
  }

  note({ exportName, command, error }: DiskFailure): void {
    const line = `${command} of ${exportName} failed: ${asVmapipeError(error).line}`
    if (this.#told.size >= MOST || this.#told.has(line)) return
    this.#told.add(line)
    this.#warn(this.#told.size < MOST ? line : `${line}; more of these are not told`)
  }
}
