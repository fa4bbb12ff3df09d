/** What a writer did, by the time. */

/** Width of a step, in milliseconds. */
export const STEP_MS = 50

export interface Written {
  /** Milliseconds since the epoch. */
  since: number
  /** Writes that ended in each step, and the longest of them in milliseconds. */
  counts: number[]
  longest: number[]
}

/** Writes a second between two times, in milliseconds since the epoch: of the steps that lie between them, or the one that does most. */
export function rate({ since, counts }: Written, from: number, to: number): number {
  const [first, end] = stepsOf(since, from, to)
  return (sum(counts.slice(first, end)) * 1000) / ((end - first) * STEP_MS)
}

/** Milliseconds. */
export function longest({ since, longest }: Written, from: number, to: number): number {
  return Math.max(0, ...longest.slice(...stepsOf(since, from, to)))
}

function stepsOf(since: number, from: number, to: number): [number, number] {
  const first = Math.ceil((from - since) / STEP_MS)
  return [first, Math.max(first + 1, Math.floor((to - since) / STEP_MS))]
}

function sum(values: number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
