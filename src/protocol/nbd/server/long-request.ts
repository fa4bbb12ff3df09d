/** A READ or WRITE whose payload goes in pieces, with one reply. */

import type { LongWrite } from './export.ts'
import type { Request } from './request.ts'

export class LongRequest {
  readonly request: Request
  /** Takes the pieces of a WRITE, if the disk must know that they belong together. */
  readonly write: LongWrite | undefined
  /** The error of the first piece that failed; 0 if none did. */
  errno = 0
  /** When the first piece began, or has begun to wait, in milliseconds of `performance.now()`. */
  since: number | null = null
  /** The bytes of pieces that are not done. */
  #left: number
  /** The number of pieces that the disk is busy with. */
  #running = 0
  #isCut = false

  constructor(request: Request, write?: LongWrite) {
    this.request = request
    this.write = write
    this.#left = request.length
  }

  /** Whether all pieces are done. */
  get isDone(): boolean {
    return this.#left === 0
  }

  begin(): void {
    this.#running++
  }

  done(length: number, errno = 0): void {
    this.#running--
    this.#left -= length
    this.errno ||= errno
    this.#endIfOver()
  }

  /** Notes that the rest of the payload never comes. */
  cut(): void {
    this.#isCut = true
    this.#endIfOver()
  }

  #endIfOver(): void {
    if (this.#running === 0 && (this.isDone || this.#isCut)) this.write?.end()
  }
}
