/** The end of a process in which something hangs. */

import { existsSync } from 'node:fs'
import { removeLeftBehind } from '../core/left-behind.ts'
import { killChildren } from '../system/child.ts'

/**
 * Takes away what would be left behind, as far as that can be done at once, a guest's QEMU first of all; ends all children, and then
 * the process. `say` is given what is left, in words, or nothing.
 */
export async function endAtOnce(exitCode: number, say: (left: string) => void): Promise<never> {
  const left = await removeLeftBehind()
  say(left.length === 0 ? '' : `left behind: ${left.join(', ')}`)
  killChildren()
  return leave(exitCode)
}

const SHELL = '/bin/sh'

/**
 * process.exit() waits for the threads of libuv's pool, one of which may wait for ever in a system call. A process that executes
 * another program waits for no thread; that program gives the exit code.
 */
function leave(exitCode: number): never {
  if (process.execve === undefined) process.exit(exitCode)
  const [program, args] = existsSync(SHELL)
    ? [SHELL, ['sh', '-c', `exit ${exitCode}`]]
    : [process.execPath, ['node', '-e', `process.exit(${exitCode})`]]
  // Node says that this is experimental.
  process.removeAllListeners('warning')
  process.emitWarning = () => {}
  return process.execve(program, args, {})
}
