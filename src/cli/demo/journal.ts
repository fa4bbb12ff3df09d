/**
 * Records what the demo guest wrote, and when. From this it is known what a drive must have at any point in time. The guest never
 * has two writes of one page in flight, so each page has one history.
 */

import { PAGE } from './drives.ts'

export interface Write {
  /** Name of the drive. */
  drive: string
  /** The number of the 4 KiB page. */
  page: number
  /** The number of this write among all writes. */
  number: number
  /** Milliseconds since the epoch. A write in flight has no end yet. */
  begun: number
  ended: number
  /** Milliseconds that it took. */
  latency: number
}

/** The content of a page after this write. */
export function recordOf({ drive, page, number }: Pick<Write, 'drive' | 'page' | 'number'>): Buffer {
  return Buffer.alloc(PAGE, `${drive} page ${page} write ${number}\n`)
}

/** The writes as seen from one instant, which is a whole millisecond: the clocks of two processes agree no better. */
export class DemoJournal {
  readonly writes: Write[] = []

  /** Acknowledged before `instant`. */
  before(instant: number): Write[] {
    return this.writes.filter(({ ended }) => ended < instant)
  }

  /** Begun after `instant`. */
  after(instant: number): Write[] {
    return this.writes.filter(({ begun }) => begun > instant)
  }

  /** What each written page of the drive may have in it at `instant`. Null means its first content. */
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
