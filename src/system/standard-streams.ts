/**
 * Refuses a standard input or output that was closed before we were started. Node opens /dev/null in its place, to read and to write,
 * so that no file that is opened later gets its number. What is written there is lost, and a read gets nothing.
 */

import { constants, readFileSync, readlinkSync } from 'node:fs'
import { VmapipeError } from '../core/errors.ts'

const NAMES = ['standard input', 'standard output']

/** Throws FAILED if the descriptor was closed. A shell's `>/dev/null` is opened to write alone, and is meant. */
export function refuseIfClosed(fd: 0 | 1): void {
  if (!isClosed(fd)) return
  const hint = fd === 0 ? 'redirect it from a file or a pipe' : 'redirect it into a file or a pipe'
  throw new VmapipeError('FAILED', `${NAMES[fd]} is closed`, { hint })
}

function isClosed(fd: number): boolean {
  try {
    if (readlinkSync(`/proc/self/fd/${fd}`) !== '/dev/null') return false
    const [, flags] = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? []
    return (Number.parseInt(flags, 8) & (constants.O_WRONLY | constants.O_RDWR)) === constants.O_RDWR
  } catch {
    // This system has no such files.
    return false
  }
}
