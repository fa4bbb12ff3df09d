/**
 * Handles the signals of a command. The first SIGINT, SIGTERM or SIGHUP ends it in good order. If something hangs, such as a read from
 * a dead NFS server, the command ends without it after GRACE_MS. The next signal ends it at once. SIGUSR1 (and SIGINFO, if the system
 * has it) prints the progress, as users of dd(1) know it. By default Node would open a debugger's port on SIGUSR1.
 */

import { constants } from 'node:os'
import { isatty } from 'node:tty'
import { EXIT_CODES, VmapipeError } from '../core/errors.ts'
import { endAtOnce } from '../system/end-at-once.ts'

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const ASKING = (['SIGUSR1', 'SIGINFO'] as const).filter((name) => name in constants.signals)

/** Signals that are this near to each other (in milliseconds) count as one: npm and our launcher pass on a signal that the terminal has already sent to all processes. */
const SAME_MS = 250

/** With the time of `endAtOnce` it is less than 2 s, the time that people wait before they send SIGKILL. */
const GRACE_MS = 1400

/** Work that a signal ends. */
interface Work {
  /** Shows the progress. */
  tell?(): void
  /** Ends redrawing: the process ends. */
  close?(): void
  /** Reads its configuration again on SIGHUP. At a terminal SIGHUP still ends the command: the terminal is gone. */
  reload?(): void
  /** Milliseconds that its end may take, if it is more than usual: it has processes of its own, which end in time. */
  grace?: number
}

const works = new Set<Work>()
const controller = new AbortController()
let report: (error: VmapipeError) => void = () => {}
let isForced = false

/** Handles the signals from now on. `onEnd` is called with the reason if the process ends at once. */
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
    const reloading =
      name === 'SIGHUP' && !isAtTerminal() ? [...works].filter(({ reload }) => reload !== undefined) : []
    for (const { reload } of reloading) reload!()
    if (reloading.length > 0) return
    if (controller.signal.aborted) return void force()
    controller.abort(new VmapipeError('ABORTED', name === 'SIGINT' ? 'interrupted' : `ended by ${name}`))
    if (works.size === 0) return void force()
    const grace = Math.max(GRACE_MS, ...[...works].map((work) => work.grace ?? 0))
    setTimeout(force, grace).unref()
  })
}

/** Makes a signal that SIGINT, SIGTERM and SIGHUP abort, until `dispose` is called. */
export function interruptible(work: Work = {}): { signal: AbortSignal; dispose: () => void } {
  works.add(work)
  return { signal: controller.signal, dispose: () => void works.delete(work) }
}

/** Call it when the process is about to end and has said why: nothing else is said then. */
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

function isAtTerminal(): boolean {
  return [0, 1, 2].some((fd) => isatty(fd))
}

/** Calls back on each of these signals. */
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
