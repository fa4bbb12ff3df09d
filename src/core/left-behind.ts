/**
 * Lists what a process would leave behind if it ended now: partial files, filters in a QEMU. If a process is told to end while
 * a system call hangs, it tries to remove each of them and names those that it could not remove.
 */

interface LeftBehind {
  /** Its name in a message, such as `'/srv/.vm.vma.partial'`. */
  what: string
  /** Removes it. It may be called at any time, also while a removal is under way. */
  remove(): unknown
  /** Milliseconds that `remove` may take; 300 by default, enough for a disk that answers. */
  patience?: number
}

const PATIENCE_MS = 300

const things = new Set<LeftBehind>()

/** Adds a thing to the list. It stays there until the returned function is called. */
export function mayBeLeft(thing: LeftBehind): () => void {
  things.add(thing)
  return () => void things.delete(thing)
}

/** Removes everything that can be removed within its patience. Returns the names of what is left. */
export async function removeLeftBehind(): Promise<string[]> {
  const tries = [...things].map(async (thing) => {
    const { what, remove, patience = PATIENCE_MS } = thing
    const removed = (async () => remove())().then(
      () => true,
      () => false,
    )
    const isGone = await Promise.race([removed, after(patience)])
    return isGone || !things.has(thing) ? [] : [what]
  })
  return (await Promise.all(tries)).flat()
}

/** False after so many milliseconds. */
function after(patience: number): Promise<boolean> {
  return new Promise((resolve) => void setTimeout(() => resolve(false), patience))
}
