/** Raw images to back up. */

import { randomBytes } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'

export interface ImageContent {
  /** Bytes at the start that nothing compresses. */
  noise?: number
  /** Bytes after them that compress well. */
  text?: number
  /** Bytes of noise at the very end. */
  tail?: number
}

/** A sparse file of `size` bytes: noise, text, a hole, noise. */
export function writeImage(path: string, size: number, { noise = 0, text = 0, tail = 0 }: ImageContent): void {
  const file = openSync(path, 'w')
  ftruncateSync(file, size)
  writeSync(file, randomBytes(noise), 0, noise, 0)
  writeSync(file, Buffer.alloc(text, 'a line that compresses well\n'), 0, text, noise)
  writeSync(file, randomBytes(tail), 0, tail, size - tail)
  closeSync(file)
}
