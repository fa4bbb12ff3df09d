/** Whether work on bytes moves from the event loop to other threads. */

/**
 * The fewest tasks at once with which that is worth it. Two processors are busy with the event loop, reads and writes. Tried on two, it
 * saved the event loop half of its time, and yet a verify took an eighth longer, as data then goes from one processor to the other more often.
 */
const LEAST_THREADS = 3

/** `threads` is the number of processor-bound tasks that may run at once. */
export function worksBeside(threads: number): boolean {
  return threads >= LEAST_THREADS
}
