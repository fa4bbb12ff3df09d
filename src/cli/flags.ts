/** Defines flags that several commands share, and reads their values. */

import { basename } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { LEAST_BUDGET } from '../core/budget.ts'
import { LONGEST_WAIT, parseDuration, SHORTEST_WAIT } from '../core/duration.ts'
import { formatBytes, parseBytes } from '../core/size.ts'
import { namedOnce } from '../operations/names.ts'
import { PROGRESS_MODES, type ProgressMode } from './progress/make-display.ts'

export interface CommonFlags {
  progress: ProgressMode
  quiet?: boolean
  verbose?: boolean
  /** False with --no-color. */
  color?: boolean
}

export interface RunFlags extends CommonFlags {
  buffer?: number
  threads?: number
  stats?: boolean
}

export interface JobFlags extends RunFlags {
  bwlimit?: number
}

/** Adds the flags of every command. */
export function common(command: Command): Command {
  return command
    .option('-v, --verbose', 'say more, and show where an error comes from')
    .option('--no-color', 'no colours (NO_COLOR is heeded too)')
}

/** Adds the flags of every command that runs a pipeline. */
export function running(command: Command): Command {
  return bufferFlag(common(command), 'memory for data on its way')
    .option('--threads <n>', 'tasks that run at once; the number of processors by default', threads)
    .addOption(
      new Option('--progress <how>', 'how to show progress; none: warnings and a summary')
        .choices(PROGRESS_MODES)
        .default('auto'),
    )
    .option('-q, --quiet', 'nothing but errors, not even warnings')
}

/** A table of what each stage did with its time, for commands that run one pipeline. */
export function statsFlag(command: Command): Command {
  return command.option('--stats', 'show at the end what each stage did with its time, and which one held the run back')
}

/** The flags of `running`, statistics, and a limit of what is read from `what`. */
export function limited(command: Command, what: string): Command {
  return rateFlag(statsFlag(running(command)), what)
}

export function bufferFlag(command: Command, what: string): Command {
  return command.option('--buffer <size>', `${what}; 64MiB by default`, bytesFlag('64MiB', LEAST_BUDGET))
}

export function rateFlag(command: Command, what: string): Command {
  const about = `bytes a second read from ${what}, such as 50MiB/s`
  return command.option('--bwlimit <rate>', about, bytesFlag('50MiB/s'))
}

/** Reads `10s`, `500ms`, `1m`, or a number of seconds. Returns milliseconds, from 100 ms to an hour. */
export function milliseconds(text: string): number {
  const value = parseDuration(text)
  if (value === undefined || value < SHORTEST_WAIT || value > LONGEST_WAIT)
    throw new InvalidArgumentError('write it as 10s, from 100ms to 60m')
  return value
}

/** Adds examples of use, and where the exit codes are, below the options. */
export function examples(command: Command, ...lines: string[]): Command {
  return command.addHelpText(
    'after',
    `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n\nExit codes: 0 done, 1 failed, 2 wrong usage or config, 3 damaged or incomplete archive, 130 interrupted`,
  )
}

/** Collects NAME=VALUE, given any number of times. The value may have further equals signs. */
export function pairs(example: string, { emptyValue = false } = {}) {
  return (text: string, before: [string, string][] = []): [string, string][] => {
    const at = text.indexOf('=')
    const noValue = at === text.length - 1 && !emptyValue
    if (at <= 0 || noValue) throw new InvalidArgumentError(`write it as ${example}`)
    return [...before, [text.slice(0, at), text.slice(at + 1)]]
  }
}

/** Adds the flag of commands that read the last archive of a chain. */
export function parentsFlag(command: Command): Command {
  return command.option(
    '--parents <place>',
    'a folder or an archive where parents of an incremental archive are looked for first; any number of times',
    collect,
  )
}

export function collect(text: string, before: string[] = []): string[] {
  return [...before, text]
}

export function driveRecord(entries: [string, string][] | undefined): Record<string, string> | undefined {
  return entries === undefined ? undefined : namedOnce('drive', entries)
}

/** Makes a record of the paths of config files, by their names in the archive. */
export function configRecord(entries: string[] = []): Record<string, string> {
  return namedOnce('config file', entries.map(configPair))
}

/** Reads `qemu-server.conf=/etc/pve/100.conf`, or a path whose last part is the name. */
function configPair(text: string): [string, string] {
  const at = text.indexOf('=')
  const name = text.slice(0, Math.max(at, 0))
  return name !== '' && !name.includes('/') ? [name, text.slice(at + 1)] : [basename(text), text]
}

/** Reads a size of at least so many bytes, such as 64MiB. */
export function bytesFlag(example: string, least = 1) {
  return (text: string): number => {
    const bytes = parseBytes(text)
    if (bytes === undefined || bytes === 0) throw new InvalidArgumentError(`write it as ${example}`)
    if (bytes < least) throw new InvalidArgumentError(`at least ${formatBytes(least)}`)
    return bytes
  }
}

function threads(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1 || number > 256) throw new InvalidArgumentError('from 1 to 256')
  return number
}
