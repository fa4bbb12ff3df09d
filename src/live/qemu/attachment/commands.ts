/** QMP commands in bulk: sent at once, so that nothing of ours comes between them, and answered in order. */

import { type QmpClient, qmpErrorClass } from '../../../protocol/qmp/client.ts'

export type Command = readonly [name: string, args?: object]

/** Milliseconds for one command. What QEMU cannot do at once, such as ending exports, is waited for by its events. */
export const STEP_MS = 10_000

/** All of them, whatever becomes of the others; what each came to. */
export function executeAll(qmp: QmpClient, commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]> {
  return Promise.allSettled(commands.map(([name, args]) => qmp.execute(name, args, { timeout: STEP_MS })))
}

export function errorsOf(results: readonly PromiseSettledResult<unknown>[]): unknown[] {
  return results.filter((result) => result.status === 'rejected').map(({ reason }) => reason)
}

/** Whether QEMU certainly did not do it: it said so. */
export function wasRefused(result: PromiseSettledResult<unknown>): boolean {
  return result.status === 'rejected' && qmpErrorClass(result.reason) !== undefined
}
