/** The command line as a child process, as users run it. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { LAUNCHER } from '../support/program.ts'

export { LAUNCHER }

export interface Outcome {
  code: number | null
  stdout: Buffer
  stderr: string
}

export interface CliOptions {
  cwd?: string
  input?: Uint8Array
  env?: Record<string, string>
  signal?: AbortSignal
  /** A command that runs it, such as nsenter with its arguments. */
  inside?: readonly string[]
  /** Milliseconds after which it is killed; five minutes by default. */
  longest?: number
}

/** Compiling takes half the time of a small run; what was compiled once is kept. */
const NODE_COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/vmapipe-test')

/** One that hangs is killed, so that it cannot outlive its test. */
const LONGEST_MS = 300_000

export function startCli(args: string[], { cwd, env = {}, inside = [], longest = LONGEST_MS }: CliOptions = {}) {
  const [program, ...words] = [...inside, process.execPath, LAUNCHER, ...args]
  return spawn(program, words, {
    cwd,
    env: { ...process.env, NO_COLOR: '1', NODE_COMPILE_CACHE, ...env },
    timeout: longest,
    killSignal: 'SIGKILL',
  })
}

/** Runs it to its end. */
export async function vmapipe(args: string[], options: CliOptions = {}): Promise<Outcome> {
  const child = startCli(args, options)
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (data) => out.push(data))
  child.stderr.on('data', (data) => err.push(data))
  // It may end before it has read its input.
  child.stdin.on('error', () => {})
  child.stdin.end(options.input)
  const [code] = await once(child, 'close')
  return { code, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() }
}

/** The one line that an error is, and nothing else on either stream. */
export function oneLine({ stdout, stderr }: Outcome): string {
  if (stdout.length > 0) throw new Error(`standard output should be empty: ${stdout.subarray(0, 200)}`)
  if (!/^vmapipe: [^\n]+\n$/.test(stderr)) throw new Error(`not one line: ${stderr}`)
  return stderr.trimEnd()
}
