/**
 * Programs that we start and that must not outlive us, whatever ends us. Three ties hold a child: our own `exit` event
 * (which kill -9 skips), the kernel's parent-death signal (set by setpriv of util-linux, where it is installed), and
 * whatever the caller does in its own `close`.
 */

import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { familyOf, signalFamily } from './family.ts'

export interface TiedOptions extends SpawnOptions {
  /** What the child gets when we are gone; KILL for a program that may overhear a TERM. */
  deathSignal?: 'TERM' | 'KILL'
}

const children = new Set<ChildProcess>()

/**
 * `spawn` for a child that gets a signal when this process (the kernel counts the spawning thread) ends. A command that
 * does not exist gives the usual `error` event with ENOENT. With `shell`, the tie holds the shell.
 */
export function spawnTied(command: string, args: readonly string[], options: TiedOptions = {}): ChildProcess {
  const { shell, deathSignal = 'TERM', ...rest } = options
  const direct: [string, readonly string[]] = shell
    ? [shell === true ? '/bin/sh' : shell, ['-c', [command, ...args].join(' ')]]
    : [command, args]
  const child = spawn(...tied(direct, deathSignal, rest), rest)
  children.add(child)
  if (children.size === 1) process.on('exit', endChildren)
  child.once('exit', () => forget(child))
  child.once('error', () => child.pid === undefined && forget(child))
  return child
}

/** Where `program` is on the PATH; a name with a slash is where it says. */
export function findProgram(program: string, path = process.env.PATH ?? ''): string | undefined {
  if (program.includes('/')) return isExecutable(program) ? program : undefined
  return path
    .split(delimiter)
    .map((folder) => join(folder || '.', program))
    .find(isExecutable)
}

/**
 * We may have ended before the child was tied: then it does not begin. SIGUSR1, which asks us how far we are, may be sent to the whole
 * process group; it ends no child.
 */
const UNLESS_ORPHANED = 'trap "" USR1; test "$PPID" = "$0" && exec "$@"'

type Command = [program: string, args: readonly string[]]

function tied([command, args]: Command, deathSignal: string, { env, cwd }: SpawnOptions): Command {
  const setpriv = deathSignalProgram()
  // Of a program that is not there setpriv would tell on stderr only: let spawn itself fail. A path may count from `cwd`.
  const missing = command.includes('/')
    ? cwd === undefined && !isExecutable(command)
    : findProgram(command, env?.PATH ?? process.env.PATH) === undefined
  if (setpriv === undefined || missing) return [command, args]
  const guard = ['/bin/sh', '-c', UNLESS_ORPHANED, String(process.pid)]
  return [setpriv, ['--pdeathsig', deathSignal, '--', ...guard, command, ...args]]
}

let setpriv: string | null | undefined

/** setpriv, if it is installed and knows --pdeathsig (busybox's does not). Looked for once. */
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

function forget(child: ChildProcess): void {
  children.delete(child)
  if (children.size === 0) process.off('exit', endChildren)
}

function endChildren(): void {
  for (const child of children) child.kill('SIGTERM')
}

/** Ends all children and what they have started, whatever signals they ignore. */
export function killChildren(): void {
  for (const { pid } of children) if (pid !== undefined) signalFamily(familyOf(pid), 'SIGKILL')
}
