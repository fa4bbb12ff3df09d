/** The network cards of a machine of QEMU: whatever device has a MAC address. */

import type { MachineNetwork } from '../../../machine/machine.ts'
import { isCount } from '../../../protocol/json.ts'
import { type Monitor, qomChildren, qomGet, qomText } from './qom.ts'

/** Cards that a board or `-nic` made are among the board's own devices, of which there are many. */
const CARD = /^(virtio-net|e1000|igb$|rtl8139|vmxnet3|ne2k|pcnet|i8\d{4}|usb-net|tulip)/
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i

export async function describeNetworks(monitor: Monitor): Promise<MachineNetwork[]> {
  const [named, anonymous, board] = await Promise.all(
    ['/machine/peripheral', '/machine/peripheral-anon', '/machine/unattached'].map((path) =>
      qomChildren(monitor, path),
    ),
  )
  const devices = [...named, ...anonymous, ...board.filter(({ type }) => CARD.test(type))]
  const cards = await Promise.all(devices.map(({ type, path }) => card(monitor, type, path)))
  // In the order of their places on the bus, in which a guest finds them.
  return cards
    .flatMap((found) => found ?? [])
    .sort((a, b) => a.place - b.place)
    .map(({ network }) => network)
}

async function card(monitor: Monitor, type: string, path: string) {
  const [mac, bootindex, addr] = await Promise.all([
    qomText(monitor, path, 'mac'),
    qomGet(monitor, path, 'bootindex'),
    qomGet(monitor, path, 'addr'),
  ])
  if (mac === undefined || !MAC.test(mac)) return null
  const network: MachineNetwork = {
    model: type.startsWith('virtio-net') ? 'virtio' : type,
    mac: mac.toLowerCase(),
    ...(isCount(bootindex) && bootindex <= 1 << 20 && { bootOrder: bootindex }),
  }
  return { network, place: isCount(addr) ? addr : 0 }
}
