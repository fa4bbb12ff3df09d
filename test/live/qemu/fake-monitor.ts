/** A monitor whose answers a test makes up; what it was not told, it does not know. */

import { VmapipeError } from '../../../src/core/errors.ts'
import type { Monitor } from '../../../src/live/qemu/inventory/qom.ts'
import { QmpError } from '../../../src/protocol/qmp/client.ts'

/** Properties of QOM objects as `PATH PROPERTY`. */
export function fakeMonitor(answers: Record<string, unknown>, properties: Record<string, unknown> = {}): Monitor {
  const execute = async (command: string, args: any = {}): Promise<any> => {
    const found = command === 'qom-get' ? properties[`${args.path} ${args.property}`] : answers[command]
    if (found !== undefined) return found
    const cause = new QmpError(command, 'GenericError', 'no such thing')
    throw new VmapipeError('FAILED', `QEMU refuses ${command}`, { cause })
  }
  return { execute }
}
