/**
 * Runs the tests: `npm test` all of them, `npm run test:quick` the quick rooms, `node test/run.ts PATH…` those in a file or folder.
 * Node alone would run as many files at a time as there are processors but one: on two processors one, which mostly waits.
 */

import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, relative } from 'node:path'
import { run } from 'node:test'
import { dot, spec } from 'node:test/reporters'
import { parseArgs } from 'node:util'
import { EVERYTHING, LONG, QUICK } from './rooms.ts'

/** Files at a time: most tests wait for other processes half of their time. */
const AT_A_TIME = availableParallelism() + 1
/** A file that has not ended by then hangs. */
const LONGEST_MS = 900_000
/** How many files are named that took longest. */
const NAMED = 10

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean' }, 'at-a-time': { type: 'string' }, dots: { type: 'boolean' } },
})
const here = (room: string) => join(import.meta.dirname, room)
const inRooms = (rooms: readonly string[]) =>
  rooms.flatMap((path) => (path.endsWith('.ts') ? [path] : globSync(join(path, '**/*.test.ts')).sort()))
const long = new Set(Object.keys(LONG).map(here))
const files =
  positionals.length > 0
    ? inRooms(positionals)
    : inRooms((values.quick ? QUICK : EVERYTHING).map(here)).filter((file) => !values.quick || !long.has(file))

// Every file is a process: what one of them has compiled the others load.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, '../node_modules/.cache/vmapipe-test')

const took: [name: string, ms: number][] = []
const tests = run({
  files,
  concurrency: Number(values['at-a-time'] ?? AT_A_TIME),
  timeout: LONGEST_MS,
  execArgv: ['--require', join(import.meta.dirname, 'support/untracked.cjs')],
})
tests.on('test:fail', () => {
  process.exitCode = 1
})
tests.on('test:summary', ({ file, duration_ms }) => {
  if (file !== undefined) took.push([relative(process.cwd(), file), duration_ms])
})
tests.on('end', () => {
  const longest = took.sort((a, b) => b[1] - a[1]).slice(0, NAMED)
  for (const [name, ms] of longest) console.log(`${(ms / 1000).toFixed(1).padStart(7)} s  ${name}`)
})
tests.compose(values.dots ? dot : spec()).pipe(process.stdout)
