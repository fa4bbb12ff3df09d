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
import { EVERYTHING, FIRST, LONG, QUICK } from './rooms.ts'
import { makeProgram } from './support/program.ts'

/** Files at a time: most tests wait for other processes half of their time. */
const AT_A_TIME = availableParallelism() + 1
/** A file that has not ended by then hangs: three times what the longest has taken on a busy machine of CI. */
const LONGEST_MS = 900_000
/** How long the process of a file may go on after its last test. */
const PATIENCE_MS = 15_000
/** The process of a file that hangs tells why, and ends. If it cannot, it is ended so much later. */
const GRACE_MS = 10_000
/**
 * A process that makes many archives spends a third of its processor time on garbage collection, because each buffer outside of the heap
 * brings the next collection nearer. With a larger first limit it collects seldom; helper threads only take time from other files.
 */
const SELDOM_COLLECTING = ['--initial-old-space-size=512', '--single-threaded-gc']
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
const wanted =
  positionals.length > 0
    ? inRooms(positionals)
    : inRooms((values.quick ? QUICK : EVERYTHING).map(here)).filter((file) => !values.quick || !long.has(file))
const first = FIRST.map(here).filter((file) => wanted.includes(file))
const files = [...first, ...wanted.filter((file) => !first.includes(file))]

// Every file is a process: what one of them has compiled the others load.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, '../node_modules/.cache/vmapipe-test')

// And the command line is started as the package has it.
process.env.VMAPIPE_TEST_LAUNCHER ??= makeProgram()

process.env.VMAPIPE_TEST_LONGEST_MS ??= String(LONGEST_MS)
process.env.VMAPIPE_TEST_PATIENCE_MS ??= String(PATIENCE_MS)

const took: [name: string, ms: number][] = []
const tests = run({
  files,
  concurrency: Number(values['at-a-time'] ?? AT_A_TIME),
  timeout: Number(process.env.VMAPIPE_TEST_LONGEST_MS) + GRACE_MS,
  execArgv: ['--require', join(import.meta.dirname, 'support/untracked.cjs'), ...SELDOM_COLLECTING],
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
const report = tests.compose(values.dots ? dot : spec())
report.pipe(process.stdout)
// What a file that was ended has left running may still have its output open.
report.on('end', () => process.exit())
