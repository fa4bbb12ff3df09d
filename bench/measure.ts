/**
 * Whole processes, measured from outside: time from start to exit, processor time and peak memory as the kernel accounts them
 * for the finished process and its children. GNU time stands between, as Node does not tell this of its children.
 */

import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export interface Sample {
  /** Seconds. */
  wall: number
  /** Seconds, user and system, of all processes of the command. */
  cpu: number
  /** Peak resident bytes of its largest process. */
  memory: number
}

export interface Command {
  name: string
  /** Program and arguments; a single one is a line for the shell. */
  argv: string[]
  /** Files that the command makes: removed before each run, so that each allocates its memory anew. */
  makes?: string[]
  /** At most so many runs, for what is slow and no goal depends on. */
  atMost?: number
}

export interface Measured {
  command: Command
  samples: Sample[]
}

export function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)))
}

/**
 * Runs all commands in turn, `runs` times, after one round that does not count, so that what drifts hits all alike. Every other round
 * goes backwards: none is always the one that another leaves its caches and its memory to.
 */
export async function alternate(commands: Command[], runs: number, folder: string): Promise<Measured[]> {
  const measured = commands.map((command): Measured => ({ command, samples: [] }))
  for (let round = 0; round <= runs; round++) {
    for (const { command, samples } of round % 2 === 0 ? measured : measured.toReversed()) {
      const { atMost = runs } = command
      if (round > atMost || (round === 0 && atMost < runs)) continue
      const sample = await measure(command, folder)
      if (round > 0) samples.push(sample)
      process.stderr.write(
        `  ${round === 0 ? 'warm-up' : `run ${round}`}  ${sample.wall.toFixed(2)} s  ${command.name}\n`,
      )
    }
  }
  return measured
}

/** One run. Throws, with what the command said, where it fails. */
export async function measure({ name, argv, makes = [] }: Command, folder: string): Promise<Sample> {
  for (const path of makes) rmSync(path, { recursive: true, force: true })
  const report = join(folder, 'time.txt')
  const words = argv.length === 1 ? ['sh', '-c', argv[0]] : argv
  // Opened to write alone, as a shell's >/dev/null: an ignored one counts as closed.
  const nowhere = openSync('/dev/null', 'w')
  const child = spawn('/usr/bin/time', ['-f', '%U %S %M', '-o', report, ...words], {
    stdio: ['ignore', nowhere, 'pipe'],
  })
  const started = performance.now()
  let said = ''
  child.stderr!.on('data', (text) => {
    said = (said + text).slice(-2000)
  })
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  closeSync(nowhere)
  const wall = (performance.now() - started) / 1000
  if (code !== 0) throw new Error(`${name} failed (${code}): ${said.trim()}`)
  const [user, system, kib] = readFileSync(report, 'utf8').trim().split('\n').at(-1)!.split(' ').map(Number)
  return { wall, cpu: user + system, memory: kib * 1024 }
}
