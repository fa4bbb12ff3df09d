import * as nbd from '../constants.ts'

/** What a server has done since it was started: counts, and bytes of payload. */
export class ServerStats {
  /** The connections at present. */
  connections = 0
  /** The connections since the start. */
  accepted = 0
  /** The requests that were read and are not answered. */
  inFlight = 0
  reads = 0
  writes = 0
  flushes = 0
  trims = 0
  zeroes = 0
  prefetches = 0
  statuses = 0
  bytesRead = 0
  bytesWritten = 0
  /** Writes that were answered, and the milliseconds from their arrival to the answer, of all together: what they waited for counts too. */
  timedWrites = 0
  writeMilliseconds = 0
  /** The requests that were answered with an error, from the disk or because they were wrong. */
  errors = 0

  timeWrite(milliseconds: number): void {
    this.timedWrites++
    this.writeMilliseconds += milliseconds
  }

  count(type: number, length: number): void {
    switch (type) {
      case nbd.CMD_READ:
        this.reads++
        this.bytesRead += length
        break
      case nbd.CMD_WRITE:
        this.writes++
        this.bytesWritten += length
        break
      case nbd.CMD_FLUSH:
        this.flushes++
        break
      case nbd.CMD_TRIM:
        this.trims++
        break
      case nbd.CMD_WRITE_ZEROES:
        this.zeroes++
        break
      case nbd.CMD_CACHE:
        this.prefetches++
        break
      case nbd.CMD_BLOCK_STATUS:
        this.statuses++
        break
    }
  }
}
