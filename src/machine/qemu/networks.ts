/** The network cards of a guest as devices of QEMU, on a network of user mode: it needs no rights and reaches out, and nothing reaches in. */

import type { Machine } from '../machine.ts'
import { type Note, shown } from './values.ts'

const MODELS: Record<string, string> = {
  virtio: 'virtio-net-pci',
  'virtio-net-pci': 'virtio-net-pci',
  'virtio-net-pci-non-transitional': 'virtio-net-pci-non-transitional',
  'virtio-net-pci-transitional': 'virtio-net-pci-transitional',
  e1000: 'e1000',
  'e1000-82540em': 'e1000',
  'e1000-82544gc': 'e1000-82544gc',
  'e1000-82545em': 'e1000-82545em',
  e1000e: 'e1000e',
  igb: 'igb',
  rtl8139: 'rtl8139',
  vmxnet3: 'vmxnet3',
  pcnet: 'pcnet',
  ne2k_pci: 'ne2k_pci',
  i82551: 'i82551',
  i82557b: 'i82557b',
  i82559er: 'i82559er',
}

export function networkArguments({ networks = [] }: Pick<Machine, 'networks'>, note: Note): [string, object][] {
  return networks.flatMap(({ model, mac, bootOrder }, index): [string, object][] => {
    const driver = Object.hasOwn(MODELS, model) ? MODELS[model] : undefined
    if (driver === undefined) {
      note(`the network card ${mac} is a ${shown(model)}, which is unknown: left out`)
      return []
    }
    const id = `net${index}`
    return [
      ['-netdev', { type: 'user', id }],
      [
        '-device',
        { driver, netdev: id, mac: mac.toLowerCase(), ...(bootOrder !== undefined && { bootindex: bootOrder }) },
      ],
    ]
  })
}
