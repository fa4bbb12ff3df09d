/** Plans the size of frames and the number of frames in work, by the memory and the processors. */

import type { Budget } from '../core/budget.ts'
import { CLUSTER_SIZE } from '../core/geometry.ts'

/** Memory for the other stages (16 MiB): several times the largest extent. */
const LEFT_TO_OTHERS = 16 << 20
const SMALLEST_FRAME = CLUSTER_SIZE

interface FramePlan {
  /** The most bytes of content in a frame. */
  frameSize: number
  /** The number of frames in work, including the one that is being filled. */
  inFlight: number
}

/**
 * Plans frames of `wanted` bytes, two more than there are threads, if the budget has room for them. One is being filled, and one waits
 * so that no thread is idle. Each takes its input and `bound(frameSize)` of output. One more output may wait for the next stage.
 * With less room there are fewer frames, then smaller ones. Frames of more than `ample` bytes get smaller before a thread has none.
 */
export function planFrames(
  budget: Budget,
  wanted: number,
  threads: number,
  bound: (bytes: number) => number,
  ample = wanted,
): FramePlan {
  const { capacity } = budget
  const room = capacity - Math.min(LEFT_TO_OTHERS, capacity / 2)
  for (let frameSize = wanted; ; frameSize = Math.floor(frameSize / 2)) {
    const fits = Math.floor((room - bound(frameSize)) / (frameSize + bound(frameSize)))
    const inFlight = Math.min(threads + 2, fits)
    const least = frameSize / 2 >= ample ? threads + 1 : 2
    if (inFlight >= least || frameSize <= SMALLEST_FRAME) {
      return { frameSize, inFlight: Math.max(1, inFlight) }
    }
  }
}
