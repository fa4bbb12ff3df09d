/** Several QMP commands, sent at once, so that no other command of ours comes between them, and answered in order. */

import { type QmpClient, qmpErrorClass } from '../../../protocol/qmp/client.ts'

export type Command = readonly [name: string, args?: object]

/** Milliseconds for one command, and for what QEMU does after its answer, such as ending an export. */
export const STEP_MS = 10_000

/** Runs all commands, also if some fail. Resolves with the result of each. */
export function executeAll(qmp: QmpClient, commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]> {
  return Promise.allSettled(commands.map(([name, args]) => qmp.execute(name, args, { timeout: STEP_MS })))
}

export function errorsOf(results: readonly PromiseSettledResult<unknown>[]): unknown[] {
  return results.filter((result) => result.status === 'rejected').map(({ reason }) => reason)
}

/** Whether QEMU itself refused the command, so that it certainly was not done. */
export function wasRefused(result: PromiseSettledResult<unknown>): boolean {
  return result.status === 'rejected' && qmpErrorClass(result.reason) !== undefined
}
