/**
 * What a process would leave behind if it ended now: partial files, filters in a QEMU. A process that is told to end while a system
 * call hangs does what it can about each of them, and names what is left.
 */

import { setTimeout as sleep } from 'node:timers/promises'

export interface LeftBehind {
  /** In the words of the message that names it, such as `'/srv/.vm.vma.partial'`. */
  what: string
  /** Takes it away; called at any time, also while that is being done already. */
  remove(): unknown
  /** Milliseconds that `remove` may take: as long as a disk that answers needs, unless given. */
  patience?: number
}

const PATIENCE_MS = 300

const things = new Set<LeftBehind>()

/** Until the function that it returns is called. */
export function mayBeLeft(thing: LeftBehind): () => void {
  things.add(thing)
  return () => void things.delete(thing)
}

/** Removes everything, as far as each is quick enough. Gives what is left. */
export async function removeLeftBehind(): Promise<string[]> {
  const tries = [...things].map(async (thing) => {
    const { what, remove, patience = PATIENCE_MS } = thing
    const removed = (async () => remove())().then(
      () => true,
      () => false,
    )
    const isGone = await Promise.race([removed, sleep(patience, false)])
    return isGone || !things.has(thing) ? [] : [what]
  })
  return (await Promise.all(tries)).flat()
}
