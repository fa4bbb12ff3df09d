/** The command line: reads the arguments, runs a command, and shows an error as one line and an exit code. */

import { CommanderError } from 'commander'
import { asVmapipeError, printable, type VmapipeError } from '../core/errors.ts'
import { DamagedArchive } from '../operations/archive-report.ts'
import { endAtOnce } from '../system/end-at-once.ts'
import { makeProgram } from './program.ts'
import { errorRecord } from './progress/json.ts'
import { endLog } from './run-operation.ts'
import { endsAtOnce, watchSignals } from './signals.ts'
import { styled } from './text.ts'

/** The longest time, in milliseconds, that something still open keeps a finished process alive. */
const LINGER_MS = 2000

export async function main(argv: string[]): Promise<void> {
  // If the reader of standard error is gone, the work goes on. If that of standard output is gone, as after `| head`, nothing is left to do.
  process.stderr.on('error', () => {})
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') console.error(`vmapipe: standard output: ${error.message}`)
    process.exit(1)
  })
  watchSignals(`vmapipe ${printable(argv[2] ?? '')}`.trimEnd(), (error) => {
    report(error, argv)
    endLog(error.exitCode)
  })
  // This must come before anything asks for colours, also before the help.
  if (argv.includes('--no-color')) process.env.NO_COLOR = '1'
  const exitCode = await run(argv)
  process.exitCode = exitCode
  if (endsAtOnce()) return
  endLog(exitCode)
  const sayLeft = (left: string) => void (left === '' || console.error(`vmapipe: ${left}`))
  setTimeout(() => endAtOnce(exitCode, sayLeft), LINGER_MS).unref()
}

async function run(argv: string[]): Promise<number> {
  try {
    const program = await makeProgram(argv)
    await program.parseAsync(argv)
    return typeof process.exitCode === 'number' ? process.exitCode : 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    const failure = asVmapipeError(error)
    if (!endsAtOnce()) report(failure, argv)
    return failure.exitCode
  }
}

function report(error: VmapipeError, argv: string[]): void {
  if (argv.includes('--progress=json') || argv[argv.indexOf('--progress') + 1] === 'json') {
    console.error(errorRecord(error))
    return
  }
  const verbose = argv.includes('--verbose') || argv.includes('-v')
  const label = styled('red', 'vmapipe:', process.stderr)
  // All damage is listed: a user who saw only the first damage would learn of the rest too late.
  if (error instanceof DamagedArchive) {
    for (const line of error.lines) console.error(`${label} ${line}`)
    return
  }
  // Stage names are shown only if the user wrote the pipeline.
  const line = verbose || argv[2] === 'run' ? error.line : error.text
  console.error(`${label} ${error.code === 'ABORTED' ? error.message : line}`)
  // All errors of a config are shown at once. For other commands, errors that follow from the first one are noise.
  for (const other of error.suppressed) {
    if (verbose || error.code === 'CONFIG') console.error(`${label} ${asVmapipeError(other).line}`)
  }
  if (verbose) console.error(printable(stackOf(error)).replaceAll('\\u{a}', '\n'))
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by: ${stackOf(error.cause)}` : ''
  return `${error.stack ?? error.message}${cause}`
}
