/** Which generations a file keeps, and from which on an archive's changes are. */

import type { Generation, Head } from './track-file.ts'

const UNSEALED = 'the service did not end in good order, and before that nothing had made durable what the parent has'

/** The most archives that a file knows. */
const MOST_NAMES = 128

/** Forgets the oldest archives, if there are too many; changes `head`. */
export function dropOldest(head: Head): void {
  let left = head.generations.reduce((sum, { names }) => sum + names.length, 0) - MOST_NAMES
  for (const { names } of head.generations) {
    if (left <= 0) break
    left -= names.splice(0, left).length
  }
  while (head.generations.length > 1 && head.generations[0].names.length === 0) head.generations.shift()
}

/** The first generation that counts for what has changed since the archive; -1 if it is not known, or is `added` itself. */
export function startOf(generations: readonly Generation[], since: string, added: Generation): number {
  return generations.findIndex((generation) => generation !== added && generation.names.includes(since))
}

/**
 * After a crash, a drive may have lost what was written before a point in time and was not durable: it differs from the archive in
 * what was written before that. So the names of such generations move to the last one before whose writes are durable; changes `head`.
 */
export function withoutUnsealed(head: Head): void {
  let last: Generation | null = null
  for (const generation of head.generations) {
    if (generation.sealed) {
      last = generation
      continue
    }
    if (last === null && generation.names.length > 0) head.lost = UNSEALED
    last?.names.push(...generation.names)
    generation.names = []
  }
}
