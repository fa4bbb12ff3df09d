import type { Budget } from '../../core/budget.ts'

const SMALLEST_PIECE = 65536

/**
 * How much to read at once: a sixteenth of what the budget can lend, so that a stage that waits for the rest of something has
 * room for several pieces, and `largest` at most.
 */
export function pieceBytes(budget: Budget, largest: number): number {
  const share = 2 ** Math.floor(Math.log2(Math.max(1, budget.capacity / 16)))
  return Math.max(SMALLEST_PIECE, Math.min(largest, share))
}
