/**
 * Runs commands of a job. A text is run by /bin/sh, a list without a shell. What a command is about is in its environment alone: no name
 * of a guest is ever part of a command.
 */

import { printable, VmapipeError } from '../../core/errors.ts'
import { spawnTied } from '../../system/child.ts'
import type { Job } from '../file/schema.ts'

export type Phase = 'start' | 'before' | 'after' | 'failed' | 'end'

const DEFAULT_MS = 600_000
/** Milliseconds from SIGTERM to SIGKILL. */
const GRACE_MS = 2000
/** The most output that is remembered, for the message. */
const MOST_OUTPUT = 4096

interface HookOptions {
  /** Without the prefix VMAPIPE_. */
  about: Readonly<Record<string, string | number | undefined>>
  signal: AbortSignal
}

/** Runs the command of this phase, if there is one. Errors: FAILED with the last line of its output, ABORTED. */
export async function runHook(job: Job, phase: Phase, { about, signal }: HookOptions): Promise<void> {
  const command = job.hooks?.[phase]
  if (command === undefined) return
  signal.throwIfAborted()
  const limit = job.hooks?.timeout ?? DEFAULT_MS
  const words = typeof command === 'string' ? ['/bin/sh', '-c', command] : command
  const env = { ...process.env, ...variables({ ...about, job: job.name, phase }) }
  const child = spawnTied(words[0], words.slice(1), { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-MOST_OUTPUT)
    })
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let killer: NodeJS.Timeout | undefined
  const end = (error: unknown) => {
    kill(child.pid, 'SIGTERM')
    killer ??= setTimeout(() => kill(child.pid, 'SIGKILL'), GRACE_MS)
    reject(error)
  }
  const abort = () => end(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  const timer = setTimeout(() => end(failed(phase, `it has not ended in ${limit / 1000} s`, '')), limit)
  child.on('error', (cause) => reject(failed(phase, cause.message, '')))
  child.on('close', (code, by) => {
    clearTimeout(killer)
    if (code === 0) resolve()
    else reject(failed(phase, by === null ? `it has ended with exit code ${code}` : `it was ended by ${by}`, output))
  })
  try {
    await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', abort)
  }
}

/** What a shell has started ends too. */
function kill(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal)
  } catch {
    // It has ended.
  }
}

/** `seconds` becomes VMAPIPE_SECONDS. NUL bytes cannot be in an environment. */
function variables(about: HookOptions['about']): Record<string, string> {
  const given = Object.entries(about).filter(([, value]) => value !== undefined)
  return Object.fromEntries(
    given.map(([name, value]) => [`VMAPIPE_${name.toUpperCase()}`, String(value).replaceAll('\0', '')]),
  )
}

function failed(phase: Phase, how: string, output: string): VmapipeError {
  const last = output.trim().split('\n').at(-1)!
  const said = last === '' ? '' : `: ${printable(last.slice(0, 200))}`
  return new VmapipeError('FAILED', `the command hooks.${phase} failed: ${how}${said}`)
}
