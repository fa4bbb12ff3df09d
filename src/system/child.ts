/**
 * Starts programs that must not outlive us, however we end. Three things end a child: our own `exit` event (which kill -9 skips),
 * the kernel's parent-death signal (if setpriv of util-linux is installed), and what the caller does in its own `close`.
 */

import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { noteChild } from './children.ts'

interface TiedOptions extends SpawnOptions {
  /** The signal that the child gets when we have ended. KILL is for a program that may ignore a TERM. */
  deathSignal?: 'TERM' | 'KILL'
}

/**
 * Spawns a child that gets a signal when this process ends (for the kernel: the thread that spawned it). A command that does not
 * exist gives the usual `error` event with ENOENT. With `shell`, the shell gets the signal.
 */
export function spawnTied(command: string, args: readonly string[], options: TiedOptions = {}): ChildProcess {
  const { shell, deathSignal = 'TERM', ...rest } = options
  const direct: [string, readonly string[]] = shell
    ? [shell === true ? '/bin/sh' : shell, ['-c', [command, ...args].join(' ')]]
    : [command, args]
  const child = spawn(...tied(direct, deathSignal, rest), rest)
  noteChild(child)
  return child
}

/** Returns the path of `program`, searched for on the PATH. A name with a slash is a path already. */
export function findProgram(program: string, path = process.env.PATH ?? ''): string | undefined {
  if (program.includes('/')) return isExecutable(program) ? program : undefined
  return path
    .split(delimiter)
    .map((folder) => join(folder || '.', program))
    .find(isExecutable)
}

/**
 * The child does not begin if we have ended before its death signal was set. It ignores SIGUSR1, which asks us for progress and
 * may be sent to the whole process group.
 */
const UNLESS_ORPHANED = 'trap "" USR1; test "$PPID" = "$0" && exec "$@"'

type Command = [program: string, args: readonly string[]]

function tied([command, args]: Command, deathSignal: string, { env, cwd }: SpawnOptions): Command {
  const setpriv = deathSignalProgram()
  // setpriv would tell of a missing program only on stderr, so spawn itself shall fail. A path may be relative to `cwd`.
  const missing = command.includes('/')
    ? cwd === undefined && !isExecutable(command)
    : findProgram(command, env?.PATH ?? process.env.PATH) === undefined
  if (setpriv === undefined || missing) return [command, args]
  const guard = ['/bin/sh', '-c', UNLESS_ORPHANED, String(process.pid)]
  return [setpriv, ['--pdeathsig', deathSignal, '--', ...guard, command, ...args]]
}

let setpriv: string | null | undefined

/** The path of setpriv, if it is installed and knows --pdeathsig (that of busybox does not). Searched for once. */
function deathSignalProgram(): string | undefined {
  if (setpriv === undefined) {
    const found = process.platform === 'linux' ? findProgram('setpriv') : undefined
    const works = found && spawnSync(found, ['--pdeathsig', 'TERM', '--', 'true'], { stdio: 'ignore' }).status === 0
    setpriv = works ? found : null
  }
  return setpriv ?? undefined
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
