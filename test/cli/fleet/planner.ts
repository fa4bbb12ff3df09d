/** `vmapipe fleet serve` as a process, with folders of its own, and commands that ask it. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { until } from '../../storage/archive/processes.ts'
import { tmpDir } from '../../support/tmp.ts'
import { type CliOptions, type Outcome, startCli, vmapipe } from '../cli.ts'

export interface Planner {
  dir: string
  url: string
  env: Record<string, string>
  child: ChildProcess
  /** What it has said. */
  told(): string
  /** What it has printed: the link to its page. */
  printed(): string
  fleet(...args: string[]): Promise<Outcome>
  /** Sends the signal, and gives the exit code. */
  end(signal?: NodeJS.Signals): Promise<number | null>
}

/** A database in WebAssembly is made and compiled, beside everything else that the machine does. */
const START_SECONDS = 150

type Hooks = { after(hook: () => void): void }

export function foldersOf(dir: string): Record<string, string> {
  return { VMAPIPE_RUNTIME: join(dir, 'run'), VMAPIPE_STATE: join(dir, 'state'), VMAPIPE_FLEET_URL: '' }
}

export async function startPlanner(
  t: Hooks,
  args: string[] = [],
  {
    dir = tmpDir(t),
    env: more = {},
    ...running
  }: { dir?: string; env?: Record<string, string> } & Pick<CliOptions, 'inside' | 'longest'> = {},
): Promise<Planner> {
  const env = { ...foldersOf(dir), ...more }
  const listen = args.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']
  const child = startCli(['fleet', 'serve', ...listen, ...args], { env, longest: 240_000, ...running })
  t.after(() => child.kill('SIGKILL'))
  let told = ''
  child.stderr.on('data', (data) => {
    told += data
  })
  let printed = ''
  child.stdout.on('data', (data) => {
    printed += data
  })
  await until(() => /^ready: /m.test(told) || child.exitCode !== null, 'the planner is ready', START_SECONDS)
  if (child.exitCode !== null) throw new Error(`the planner has ended: ${told}`)
  return {
    ...{ dir, env, child },
    url: /agents and people at (\S+),/.exec(told)![1],
    told: () => told,
    printed: () => printed,
    fleet: (...words) => vmapipe(['fleet', ...words], { env }),
    async end(signal = 'SIGTERM') {
      const exited = once(child, 'exit')
      child.kill(signal)
      const [code] = await exited
      return code
    },
  }
}
