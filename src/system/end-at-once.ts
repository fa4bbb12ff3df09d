/** Ends a process in which something hangs. */

import { existsSync } from 'node:fs'
import { removeLeftBehind } from '../core/left-behind.ts'
import { killChildren } from './children.ts'

/**
 * Removes what would be left behind, as far as that is possible at once, and frees a guest's QEMU first. Then ends all children and
 * the process. `say` gets the list of what is left, in words, or nothing.
 */
export async function endAtOnce(exitCode: number, say: (left: string) => void): Promise<never> {
  const left = await removeLeftBehind()
  say(left.length === 0 ? '' : `left behind: ${left.join(', ')}`)
  killChildren()
  return leave(exitCode)
}

const SHELL = '/bin/sh'

/**
 * Ends the process by executing another program, which ends with the exit code. process.exit() would wait for the threads of libuv's
 * pool, and one of them may wait in a system call for ever.
 */
function leave(exitCode: number): never {
  if (process.execve === undefined) process.exit(exitCode)
  const [program, args] = existsSync(SHELL)
    ? [SHELL, ['sh', '-c', `exit ${exitCode}`]]
    : [process.execPath, ['node', '-e', `process.exit(${exitCode})`]]
  // Suppresses Node's warning that this is experimental.
  process.removeAllListeners('warning')
  process.emitWarning = () => {}
  return process.execve(program, args, {})
}
