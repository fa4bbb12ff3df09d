/**
 * What an archive says of its guest, in whichever of its config files: each format has a reader here. They are loaded when they are
 * needed, as `list` has to start at once.
 */

import { VmapipeError } from '../core/errors.ts'
import type { ConfigFile } from '../core/items.ts'
import type { Machine } from './machine.ts'

interface Format {
  /** Name of the config file. */
  name: string
  /** Throws if the file is not what its name says. */
  read(data: Uint8Array): Promise<Machine>
}

/** As in machine.ts, which loads the library of the schema. */
const GUEST_JSON = 'guest.json'

/** The first that an archive has is read. */
const FORMATS: readonly Format[] = [
  { name: GUEST_JSON, read: readGuestJson },
  { name: 'qemu-server.conf', read: readProxmox },
]

/** The guest of an archive; null if it says nothing of it. Throws DAMAGED if what it says makes no sense. */
export async function machineIn(configs: readonly ConfigFile[]): Promise<Machine | null> {
  for (const { name, read } of FORMATS) {
    // If several have the same name, the last one counts, as in a restore.
    const config = configs.findLast((config) => config.name === name)
    if (config !== undefined) return read(config.data)
  }
  return null
}

/** As Proxmox's own archives have it. */
async function readProxmox(data: Uint8Array): Promise<Machine> {
  const [{ parseProxmoxConfig }, { machineOfProxmox }] = await Promise.all([
    import('./proxmox/config.ts'),
    import('./proxmox/machine-of-config.ts'),
  ])
  return machineOfProxmox(parseProxmoxConfig(data))
}

async function readGuestJson(data: Uint8Array): Promise<Machine> {
  const { machineSchema } = await import('./machine.ts')
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(data).toString())
  } catch (error) {
    throw new VmapipeError('DAMAGED', `the config file ${GUEST_JSON} is no JSON`, { cause: error })
  }
  const { success, data: machine, error } = machineSchema.safeParse(value)
  if (success) return machine
  const [{ path, message }] = error.issues
  throw new VmapipeError(
    'DAMAGED',
    `the config file ${GUEST_JSON} does not describe a guest: ${path.join('.')}: ${message}`,
    {
      hint: 'a newer version of this program may have written it',
    },
  )
}
