/** Runs a task in a process of its own. */

import { getCompileCacheDir } from 'node:module'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { printable, VmapipeError } from '../../core/errors.ts'
import { spawnTied } from '../../system/child.ts'
import type { Order, ResultOf, Task, Telling } from './task.ts'

const PROGRAM = new URL(`./backup-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)

/** A task that runs. */
export interface Running<Result> {
  /** Errors: those of the backup. FAILED if its process died. */
  readonly ended: Promise<Result>
  /** Bytes a second; null for no limit. */
  setRate(rate: number | null): void
  cancel(reason: string): void
}

/** Starts a task. `hear` is told how it goes. */
export type StartTask = <T extends Task>(task: T, hear: (telling: Telling) => void) => Running<ResultOf<T>>

/** Milliseconds from the wish that a process ends until it is killed. It frees its guest in less. */
const KILL_MS = 1900
/** The most text of its standard error that is remembered. */
const MOST_STDERR = 4096

export const startWorker: StartTask = (task, hear) => start(fileURLToPath(PROGRAM), task, hear)

/** Starts tasks by this program, such as one of a bundle. */
export const workersOf =
  (program: string): StartTask =>
  (task, hear) =>
    start(program, task, hear)

function start<T extends Task>(program: string, task: T, hear: (telling: Telling) => void): Running<ResultOf<T>> {
  // Compiled code is kept for the next guest too: half of the time of a start is compiling.
  const cache = getCompileCacheDir()
  const env = { ...process.env, ...(cache !== undefined && { NODE_COMPILE_CACHE: cache }) }
  const child = spawnTied(process.execPath, [program], { env, stdio: ['pipe', 'pipe', 'pipe'] })
  const { promise, resolve, reject } = Promise.withResolvers<ResultOf<T>>()
  let said = ''
  let killer: NodeJS.Timeout | undefined
  const order = (message: Task | Order) => void child.stdin!.write(`${JSON.stringify(message)}\n`)
  // The `close` event tells why.
  child.stdin!.on('error', () => {})
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-MOST_STDERR)
  })
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const telling = parsed(line)
    if (telling === null) return
    if (telling.type === 'done') resolve(telling.result as ResultOf<T>)
    else if (telling.type === 'error') reject(errorOf(telling.error))
    else hear(telling)
  })
  child.on('error', (cause) =>
    reject(new VmapipeError('FAILED', `the backup cannot be started: ${cause.message}`, { cause })),
  )
  child.on('close', (code, signal) => {
    clearTimeout(killer)
    const how = signal === null ? `with exit code ${code}` : `by ${signal}`
    const last = said.trim().split('\n').at(-1)!
    const why = last === '' ? '' : `: ${printable(last.slice(0, 200))}`
    reject(new VmapipeError('FAILED', `the process of the backup has ended ${how}${why}`))
  })
  const ended = promise.finally(() => {
    // It ends by itself; the pipe that we hold open must not keep it.
    child.stdin!.end()
  })
  order(task)
  return {
    ended: closedAfter(ended, child),
    setRate: (rate) => order({ type: 'rate', rate }),
    cancel(reason) {
      order({ type: 'cancel', reason })
      killer ??= setTimeout(() => child.kill('SIGKILL'), KILL_MS)
    },
  }
}

/** The result, once the process has ended too: what it holds is free then. */
async function closedAfter<R>(ended: Promise<R>, child: ReturnType<typeof spawnTied>): Promise<R> {
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()).once('error', () => resolve()))
  try {
    return await ended
  } finally {
    await closed
  }
}

function parsed(line: string): Telling | null {
  try {
    return JSON.parse(line) as Telling
  } catch {
    return null // Something in the process has written to its standard output.
  }
}

function errorOf({
  code,
  message,
  hint,
}: {
  code: VmapipeError['code']
  message: string
  hint?: string
}): VmapipeError {
  return new VmapipeError(code, message, { hint })
}
