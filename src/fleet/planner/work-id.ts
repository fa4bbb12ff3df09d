/** Ids of works. One that is due has the same id on every planner and from every host, so a guest that has moved is not backed up twice. */

import { createHash } from 'node:crypto'

const LETTERS = 24

/** `due`: milliseconds since 1970. */
export function workId(job: string, guest: string, due: number): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([job, guest, due]))
    .digest('hex')
  return `run-${hash.slice(0, LETTERS)}`
}
