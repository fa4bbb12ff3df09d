/** The children that must not outlive us. It stands apart from what starts them, as most commands start none. */

import type { ChildProcess } from 'node:child_process'
import { familyOf, signalFamily } from './family.ts'

const children = new Set<ChildProcess>()

/** Notes a child, which gets a SIGTERM if we exit before it does. */
export function noteChild(child: ChildProcess): void {
  children.add(child)
  if (children.size === 1) process.on('exit', endChildren)
  child.once('exit', () => forget(child))
  child.once('error', () => child.pid === undefined && forget(child))
}

function forget(child: ChildProcess): void {
  children.delete(child)
  if (children.size === 0) process.off('exit', endChildren)
}

function endChildren(): void {
  for (const child of children) child.kill('SIGTERM')
}

/** Kills all children and what they have started. */
export function killChildren(): void {
  for (const { pid } of children) if (pid !== undefined) signalFamily(familyOf(pid), 'SIGKILL')
}
