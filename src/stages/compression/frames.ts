/** How large frames are and how many are under way, for the memory and the processors that there are. */

import type { Budget } from '../../core/budget.ts'
import { CLUSTER_SIZE } from '../../core/geometry.ts'

/** Left to the stages around: the largest extent several times over. */
const LEFT_TO_OTHERS = 16 << 20
const SMALLEST_FRAME = CLUSTER_SIZE

export interface FramePlan {
  /** Bytes that one frame holds at most. */
  frameSize: number
  /** Frames under way at once. */
  inFlight: number
}

/**
 * Frames of `wanted` bytes, one more than there are threads, if the budget has room for them: each takes its input
 * and `bound(frameSize)` of output, and one more output may wait for the next stage. With less room fewer are under
 * way, then they are smaller.
 */
export function planFrames(
  budget: Budget,
  wanted: number,
  threads: number,
  bound: (bytes: number) => number,
): FramePlan {
  const { capacity } = budget
  const room = capacity - Math.min(LEFT_TO_OTHERS, capacity / 2)
  for (let frameSize = wanted; ; frameSize >>>= 1) {
    const fits = Math.floor((room - bound(frameSize)) / (frameSize + bound(frameSize)))
    const inFlight = Math.min(threads + 1, fits)
    if (inFlight >= Math.min(2, threads + 1) || frameSize <= SMALLEST_FRAME) {
      return { frameSize, inFlight: Math.max(1, inFlight) }
    }
  }
}
