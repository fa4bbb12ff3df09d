/**
 * Ends a program that we started together with all that it has started. A signal that ends a shell does not end the shell's
 * children.
 */

import { readFileSync } from 'node:fs'

/** A process and all that it has started. Parents come first, so that no shell continues because its child has ended. */
export function familyOf(pid: number): number[] {
  const path = `/proc/${pid}/task/${pid}/children`
  let started: string[] = []
  try {
    started = readFileSync(path, 'latin1')
      .split(' ')
      .filter((word) => word !== '')
  } catch {
    // The process has ended, or this system does not list children.
  }
  return [pid, ...started.flatMap((child) => familyOf(Number(child)))]
}

export function signalFamily(pids: Iterable<number>, signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal)
    } catch {
      // The process has ended by itself.
    }
  }
}
