/** `guest.json` of a guest whose disks `vmapipe serve` serves. The server sees its drives and nothing else of the machine. */

import { GUEST_JSON, MACHINE_VERSION, type Machine } from '../../machine/machine.ts'
import type { ServiceStatus } from '../control/controlled-service.ts'
import type { GuestOptions } from './options.ts'

type Configs = Record<string, Uint8Array>

/** The config files of the user, and the description, unless the user has a file of its name. `names`: the drives; all unless given. */
export function withServedMachine(
  configs: Configs,
  { drives }: Pick<ServiceStatus, 'drives'>,
  names: readonly string[] | undefined,
  { guest }: Pick<GuestOptions, 'guest'>,
): Configs {
  if (!Array.isArray(drives) || drives.length === 0) return configs
  const machine: Machine = {
    version: MACHINE_VERSION,
    from: 'serve',
    ...(guest !== undefined && { name: guest.slice(0, 255) }),
    disks: drives
      .filter(({ name }) => names?.includes(name) !== false)
      .map(({ name, size, readOnly }) => ({ drive: name, bus: 'other', size, ...(readOnly && { readOnly }) })),
  }
  return { [GUEST_JSON]: new TextEncoder().encode(`${JSON.stringify(machine, null, 2)}\n`), ...configs }
}
