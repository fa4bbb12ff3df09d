/**
 * The signals of a command. The first SIGINT, SIGTERM or SIGHUP ends it in good order, and what hangs, such as a read of a dead NFS
 * server, holds it up no longer than GRACE_MS; the next one ends it at once. SIGUSR1 (and SIGINFO, on systems that have it) prints
 * how far it is, as users of dd(1) know it; to Node it would open a debugger's port.
 */

import { constants } from 'node:os'
import { EXIT_CODES, VmapipeError } from '../core/errors.ts'
import { endAtOnce } from './end-at-once.ts'

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const ASKING = (['SIGUSR1', 'SIGINFO'] as const).filter((name) => name in constants.signals)

/** npm and our launcher pass on a signal that the terminal has already sent to everybody: this near they are one. */
const SAME_MS = 250

/** Together with what `endAtOnce` takes less than 2 s, which is how long people wait before they send SIGKILL. */
const GRACE_MS = 1400

/** Work that a signal ends. */
interface Work {
  /** Says how far it is. */
  tell?(): void
  /** Nothing is redrawn any more: the process ends. */
  close?(): void
}

const works = new Set<Work>()
const controller = new AbortController()
let report: (error: VmapipeError) => void = () => {}
let isForced = false

/** From now on to the end of the process. `onEnd` is told why the process ends if it ends at once. */
export function watchSignals(command: string, onEnd: (error: VmapipeError) => void): void {
  report = onEnd
  const begun = performance.now()
  onceEach(ASKING, () => {
    const told = [...works].filter(({ tell }) => tell !== undefined)
    for (const { tell } of told) tell!()
    const seconds = Math.round((performance.now() - begun) / 1000)
    if (told.length === 0) process.stderr.write(`${command} has been running for ${seconds} s\n`)
  })
  onceEach(ENDING, (name) => {
    if (controller.signal.aborted) return void force()
    controller.abort(new VmapipeError('ABORTED', name === 'SIGINT' ? 'interrupted' : `ended by ${name}`))
    if (works.size === 0) return void force()
    setTimeout(force, GRACE_MS).unref()
  })
}

/** Aborted by a signal, until `dispose` is called. */
export function interruptible(work: Work = {}): { signal: AbortSignal; dispose: () => void } {
  works.add(work)
  return { signal: controller.signal, dispose: () => void works.delete(work) }
}

/** The process is about to end, and has said why: nothing else needs to be said. */
export function endsAtOnce(): boolean {
  return isForced
}

async function force(): Promise<void> {
  if (isForced) return
  isForced = true
  const { message } = controller.signal.reason as VmapipeError
  await endAtOnce(EXIT_CODES.ABORTED, (left) => {
    for (const { close } of works) close?.()
    report(new VmapipeError('ABORTED', left === '' ? message : `${message}; ${left}`))
  })
}

/** Calls back on any of these signals. */
function onceEach<Name extends NodeJS.Signals>(names: readonly Name[], callback: (name: Name) => void): void {
  let last = Number.NEGATIVE_INFINITY
  for (const name of names) {
    process.on(name, () => {
      const now = performance.now()
      if (now - last <= SAME_MS) return
      last = now
      callback(name)
    })
  }
}
