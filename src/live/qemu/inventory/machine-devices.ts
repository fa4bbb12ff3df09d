/** The devices that the command line or a hot plug added to a machine of QEMU. What every machine of its type has is left out. */

import { textOf } from '../../../protocol/json.ts'
import { type Monitor, qomChildren, qomGet } from './qom.ts'

export interface MachineDevice {
  id?: string
  type: string
  bus?: string
  /** Its place on a PCI bus: slot and function, "1f.2". */
  address?: string
  /** Properties that matter to a guest, if the device has them and they are set. */
  [property: string]: unknown
}

/** Worth keeping, of any device that has them. */
const PROPERTIES = ['mac', 'netdev', 'serial', 'bootindex', 'chardev', 'iothread', 'drive']
/** Values that say "not set". */
const UNSET: unknown[] = [undefined, null, '', -1]

export async function describeDevices(monitor: Monitor): Promise<MachineDevice[]> {
  const [named, anonymous] = await Promise.all(
    ['/machine/peripheral', '/machine/peripheral-anon'].map((path) => qomChildren(monitor, path)),
  )
  const devices = await Promise.all([
    ...named.map(async ({ name, type, path }) => ({ id: name, type, ...(await properties(monitor, path)) })),
    ...anonymous.map(async ({ type, path }) => ({ type, ...(await properties(monitor, path)) })),
  ])
  const place = ({ id, type, bus, address }: MachineDevice) => [id ?? '~', bus, address, type].join(' ')
  return devices.sort((a, b) => place(a).localeCompare(place(b), 'en', { numeric: true }))
}

async function properties(monitor: Monitor, path: string): Promise<Omit<MachineDevice, 'type'>> {
  const [bus, addr, ...values] = await Promise.all([
    qomGet(monitor, path, 'parent_bus'),
    qomGet(monitor, path, 'addr'),
    ...PROPERTIES.map((property) => qomGet(monitor, path, property)),
  ])
  const plain = (value: unknown) => (typeof value === 'string' ? value.replace(/^\/objects\//, '') : value)
  const set = PROPERTIES.map((property, i) => [property, plain(values[i])]).filter(
    ([, value]) => !UNSET.includes(value),
  )
  return {
    bus: textOf(bus)?.replace(/^.*\//, ''),
    address: address(addr),
    ...Object.fromEntries(set),
  }
}

/** PCI's devfn, as people write it. */
function address(devfn: unknown): string | undefined {
  if (!Number.isInteger(devfn) || (devfn as number) < 0) return undefined
  return `${((devfn as number) >> 3).toString(16).padStart(2, '0')}.${(devfn as number) & 7}`
}
