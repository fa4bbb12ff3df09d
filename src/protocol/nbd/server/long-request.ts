/** A READ or WRITE whose payload goes in pieces, and which has one reply. */

import type { LongWrite } from './export.ts'
import type { Request } from './request.ts'

export class LongRequest {
  readonly request: Request
  /** What takes the pieces of a WRITE, if the disk wants to know that they belong together. */
  readonly write: LongWrite | undefined
  /** Of the first piece that failed; 0 if none did. */
  errno = 0
  /** Bytes of pieces that are not done. */
  #left: number
  /** Pieces that the disk is busy with. */
  #running = 0
  #isCut = false

  constructor(request: Request, write?: LongWrite) {
    this.request = request
    this.write = write
    this.#left = request.length
  }

  /** Every piece is done. */
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

  /** The rest of its payload never comes. */
  cut(): void {
    this.#isCut = true
    this.#endIfOver()
  }

  #endIfOver(): void {
    if (this.#running === 0 && (this.isDone || this.#isCut)) this.write?.end()
  }
}
