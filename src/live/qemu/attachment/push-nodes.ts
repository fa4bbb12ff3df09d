/** QEMU's ends of the push: an NBD node for every drive, connected to us. */

import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import { errorsOf, executeAll } from './commands.ts'
import { namesOf } from './names.ts'

export async function addTargets(qmp: QmpClient, drives: number, pushSocket: string): Promise<void> {
  const server = { type: 'unix', path: pushSocket }
  const commands = Array.from({ length: drives }, (_, index) => {
    const { target } = namesOf(index)
    return ['blockdev-add', { driver: 'nbd', 'node-name': target, server, export: target }] as const
  })
  const [error] = errorsOf(await executeAll(qmp, commands))
  if (error === undefined) return
  const { message, code } = asVmapipeError(error)
  const hint = `QEMU must be able to reach ${pushSocket}: --socket-dir names a folder where it can`
  throw new VmapipeError(code, message, { cause: error, hint })
}
