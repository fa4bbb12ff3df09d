/** Makes a `Machine` of the XML of a domain: what other hypervisors need to build the guest. */

import type { Machine, MachineDisk, MachineNetwork } from '../machine.ts'
import { type Domain, type DomainDisk, VARIABLES_DRIVE } from './domain.ts'
import { attribute, children, content, type Element, find } from './xml.ts'

const BUSES = ['ide', 'sata', 'scsi', 'virtio', 'nvme', 'usb', 'sd'] as const

const UNITS: Record<string, number> = {
  ...{ b: 1, bytes: 1, KB: 1e3, k: 1024, KiB: 1024, MB: 1e6, M: 2 ** 20, MiB: 2 ** 20 },
  ...{ GB: 1e9, G: 2 ** 30, GiB: 2 ** 30, TB: 1e12, T: 2 ** 40, TiB: 2 ** 40 },
}

/** What the archive has besides the disks. */
interface Parts {
  /** Names of the drives in the archive by the targets of their disks; disks without one are left out. */
  drives: ReadonlyMap<string, string>
  hasVariables: boolean
  /** Name of the config file with the state of the TPM, if there is one. */
  tpmState?: string | undefined
}

export function machineOf(domain: Domain, { drives, hasVariables, tpmState }: Parts): Machine {
  const { root, os } = domain
  const type = os && find(os, 'type')
  const disks = domain.disks.flatMap((disk) => {
    const drive = drives.get(disk.target)
    return drive === undefined ? [] : [diskOf(domain, disk, drive)]
  })
  const networks = domain.devices ? children(domain.devices, 'interface').flatMap(networkOf) : []
  const secure = os && attribute(find(os, 'loader'), 'secure') === 'yes'
  return given({
    version: 1 as const,
    from: 'libvirt' as const,
    name: short(domain.name),
    uuid: domain.uuid,
    type: short(attribute(type, 'machine')),
    arch: short(attribute(type, 'arch')),
    memory: memoryOf(find(root, 'memory')),
    cpu: cpuOf(root),
    firmware: given({
      kind: domain.isUefi ? ('uefi' as const) : ('bios' as const),
      secureBoot: secure || undefined,
      variables: hasVariables ? VARIABLES_DRIVE : undefined,
    }),
    tpm: domain.tpm && given({ version: domain.tpm.version, state: tpmState }),
    disks,
    networks,
  })
}

function diskOf(domain: Domain, disk: DomainDisk, drive: string): MachineDisk {
  const { element } = disk
  const bus = BUSES.find((known) => known === disk.bus) ?? (disk.bus === 'fdc' ? 'floppy' : 'other')
  const address = children(element, 'address').find((place) => attribute(place, 'type') === 'drive')
  return given({
    drive,
    bus,
    unit: count(attribute(address, 'unit')),
    target: disk.target,
    format: disk.format.slice(0, 32),
    controller: bus === 'scsi' ? short(scsiModel(domain, attribute(address, 'controller') ?? '0')) : undefined,
    serial: short(content(find(element, 'serial'))),
    bootOrder: count(attribute(find(element, 'boot'), 'order')) ?? bootByOs(domain, disk),
    readOnly: disk.isReadOnly || undefined,
  })
}

/** The first disk boots if the domain names no device but says `hd`. */
function bootByOs({ os, disks }: Domain, disk: DomainDisk): number | undefined {
  const order = os ? children(os, 'boot').map((boot) => attribute(boot, 'dev')) : []
  const first = disks.find(({ device }) => device === 'disk')
  return order.includes('hd') && first === disk ? 1 : undefined
}

function scsiModel({ devices }: Domain, index: string): string | undefined {
  const controllers = devices ? children(devices, 'controller') : []
  const found = controllers.find((one) => attribute(one, 'type') === 'scsi' && attribute(one, 'index') === index)
  const model = attribute(found, 'model')
  return model === 'virtio-scsi' ? 'virtio-scsi-pci' : model
}

function networkOf(element: Element): MachineNetwork[] {
  const mac = attribute(find(element, 'mac'), 'address')
  if (mac === undefined || !/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) return []
  const source = find(element, 'source')
  return [
    given({
      model: short(attribute(find(element, 'model'), 'type')) ?? 'rtl8139',
      mac: mac.toLowerCase(),
      bridge: short(attribute(source, 'bridge')),
      bootOrder: count(attribute(find(element, 'boot'), 'order')),
    }),
  ]
}

function cpuOf(root: Element): Machine['cpu'] {
  const cpu = find(root, 'cpu')
  const topology = cpu && find(cpu, 'topology')
  const mode = attribute(cpu, 'mode')
  const model = mode?.startsWith('host') ? 'host' : content(cpu && find(cpu, 'model'))
  const vcpus = count(content(find(root, 'vcpu'))) ?? 1
  return given({
    model: short(model),
    count: vcpus,
    sockets: count(attribute(topology, 'sockets')) ?? (topology ? undefined : 1),
    cores: count(attribute(topology, 'cores')) ?? (topology ? undefined : vcpus),
    threads: count(attribute(topology, 'threads')) ?? (topology ? undefined : 1),
  })
}

/** Bytes. */
function memoryOf(element: Element | undefined): number | undefined {
  const value = count(content(element), Number.MAX_SAFE_INTEGER)
  if (value === undefined) return undefined
  const bytes = value * (UNITS[attribute(element, 'unit') ?? 'KiB'] ?? Number.NaN)
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined
}

function count(text: string | undefined, most = 1 << 20): number | undefined {
  const value = /^\d{1,16}$/.test(text ?? '') ? Number(text) : Number.NaN
  return value <= most ? value : undefined
}

function short(text: string | undefined): string | undefined {
  return text === undefined || text.length > 255 ? undefined : text
}

/** Without the keys that are undefined. */
function given<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as never
}
