/** How large frames are and how many are under way, for the memory and the processors that there are. */

import type { Budget } from '../../core/budget.ts'
import { CLUSTER_SIZE } from '../../core/geometry.ts'

/** Left to the stages around: the largest extent several times over. */
const LEFT_TO_OTHERS = 16 << 20
const SMALLEST_FRAME = CLUSTER_SIZE

export interface FramePlan {
  /** Bytes that one frame holds at most. */
  frameSize: number
  /** Frames at once, with the one that is being filled. */
  inFlight: number
}

/**
 * Frames of `wanted` bytes, two more than there are threads, if the budget has room for them: one is being filled, and
 * one waits so that no thread has to wait for us. Each takes its input and `bound(frameSize)` of output, and one more
 * output may wait for the next stage. With less room there are fewer of them, then smaller ones.
 */
export function planFrames(
  budget: Budget,
  wanted: number,
  threads: number,
  bound: (bytes: number) => number,
): FramePlan {
  const { capacity } = budget
  const room = capacity - Math.min(LEFT_TO_OTHERS, capacity / 2)
  for (let frameSize = wanted; ; frameSize = Math.floor(frameSize / 2)) {
    const fits = Math.floor((room - bound(frameSize)) / (frameSize + bound(frameSize)))
    const inFlight = Math.min(threads + 2, fits)
    if (inFlight >= 2 || frameSize <= SMALLEST_FRAME) {
      return { frameSize, inFlight: Math.max(1, inFlight) }
    }
  }
}
