/**
 * What the made-up guest wrote, and when: out of this follows what a drive must hold at any point in time. The guest
 * never has two writes of one page under way, so each page has a history.
 */

import { PAGE } from './drives.ts'

export interface Write {
  /** Name of the drive. */
  drive: string
  /** Of its 4 KiB pages, which one. */
  page: number
  /** The how manieth write of all it is. */
  number: number
  /** Milliseconds since the epoch; a write that is under way has not ended. */
  begun: number
  ended: number
  /** Milliseconds that it took. */
  latency: number
}

/** What a page holds after this write. */
export function recordOf({ drive, page, number }: Pick<Write, 'drive' | 'page' | 'number'>): Buffer {
  return Buffer.alloc(PAGE, `${drive} page ${page} write ${number}\n`)
}

/** The writes seen from one instant of one millisecond: milliseconds are all that clocks of two processes tell. */
export class Journal {
  readonly writes: Write[] = []

  /** Acknowledged before `instant`. */
  before(instant: number): Write[] {
    return this.writes.filter(({ ended }) => ended < instant)
  }

  /** Begun after `instant`. */
  after(instant: number): Write[] {
    return this.writes.filter(({ begun }) => begun > instant)
  }

  /** Of each page of the drive that was written to, what it may hold at `instant`; null stands for what it began with. */
  pagesAt(drive: string, instant: number): Map<number, (Write | null)[]> {
    const pages = new Map<number, (Write | null)[]>()
    for (const write of this.writes) {
      if (write.drive !== drive) continue
      const before = pages.get(write.page) ?? [null]
      if (write.begun > instant) pages.set(write.page, before)
      else pages.set(write.page, write.ended < instant ? [write] : [...before, write])
    }
    return pages
  }
}
