import * as nbd from '../constants.ts'

/** What a server has done since it began. Counts, and bytes of payload. */
export class ServerStats {
  /** Connections now. */
  connections = 0
  /** Connections ever. */
  accepted = 0
  /** Requests that have been read and not answered yet. */
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
  /** Requests answered with an error, by the disk or because they made no sense. */
  errors = 0

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
