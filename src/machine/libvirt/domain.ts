/** What a domain of libvirt is, as its XML says. Nothing of it is trusted: the names in it are text, and paths are not followed here. */

import { VmapipeError } from '../../core/errors.ts'
import { driveNameOf } from '../drive-name.ts'
import { attribute, children, content, type Document, type Element, find, parseXml } from './xml.ts'

/** Name of the config file in an archive. */
export const DOMAIN_XML = 'domain.xml'

/** The drive that has the variables of UEFI: QEMU's second flash. */
export const VARIABLES_DRIVE = 'drive-pflash1'

export interface DomainDisk {
  element: Element
  device: 'disk' | 'cdrom' | 'floppy' | 'lun'
  /** file, block, network, volume, … */
  type: string
  /** Such as "vda". */
  target: string
  bus: string
  /** Of the image: "raw" or another name of QEMU. */
  format: string
  /** Name of the drive in an archive, the same whether the guest runs or not. */
  drive: string
  isTransient: boolean
  isReadOnly: boolean
  source: Element | undefined
}

/** A TPM that swtpm makes. */
interface DomainTpm {
  element: Element
  version: string
}

export class Domain {
  readonly document: Document
  readonly root: Element
  readonly name: string
  readonly uuid: string | undefined
  /** hvm's hypervisor: "kvm" or "qemu". */
  readonly type: string
  readonly disks: readonly DomainDisk[]

  private constructor(document: Document) {
    this.document = document
    this.root = document.documentElement!
    const name = content(find(this.root, 'name'))
    if (name === undefined) throw new VmapipeError('DAMAGED', 'the XML of the domain has no name')
    this.name = name
    this.uuid = content(find(this.root, 'uuid'))?.toLowerCase()
    this.type = attribute(this.root, 'type') ?? ''
    const devices = find(this.root, 'devices')
    this.disks = devices === undefined ? [] : children(devices, 'disk').flatMap((disk) => readDisk(disk, devices) ?? [])
  }

  /** Throws DAMAGED if the text is no XML of a domain. */
  static parse(text: string, what = `'${DOMAIN_XML}'`): Domain {
    return new Domain(parseXml(text, 'domain', what))
  }

  get os(): Element | undefined {
    return find(this.root, 'os')
  }

  get devices(): Element | undefined {
    return find(this.root, 'devices')
  }

  get isUefi(): boolean {
    const loader = this.os && find(this.os, 'loader')
    return attribute(this.os, 'firmware') === 'efi' || attribute(loader, 'type') === 'pflash'
  }

  /** The element that names the file of UEFI's variables. */
  get nvram(): Element | undefined {
    return this.os && find(this.os, 'nvram')
  }

  get tpm(): DomainTpm | undefined {
    const element = this.devices && find(this.devices, 'tpm')
    const backend = element && find(element, 'backend')
    if (element === undefined || attribute(backend, 'type') !== 'emulator') return undefined
    return { element, version: attribute(backend, 'version') ?? '2.0' }
  }
}

function readDisk(element: Element, devices: Element): DomainDisk | null {
  const target = find(element, 'target')
  const dev = attribute(target, 'dev')
  if (dev === undefined) return null
  const device = attribute(element, 'device') ?? 'disk'
  const bus = attribute(target, 'bus') ?? 'ide'
  const alias = attribute(find(element, 'alias'), 'name') ?? diskAlias(element, { dev, bus, devices })
  return {
    element,
    device: device === 'cdrom' || device === 'floppy' || device === 'lun' ? device : 'disk',
    type: attribute(element, 'type') ?? 'file',
    target: dev,
    bus,
    format: attribute(find(element, 'driver'), 'type') ?? 'raw',
    drive: driveNameOf(alias),
    isTransient: find(element, 'transient') !== undefined,
    isReadOnly: find(element, 'readonly') !== undefined,
    source: find(element, 'source'),
  }
}

/** The id that libvirt gives to the device of a disk: "virtio-disk0", "scsi0-0-0-1", "sata0-0-1". */
function diskAlias(element: Element, { dev, bus, devices }: { dev: string; bus: string; devices: Element }): string {
  const address = children(element, 'address').find((place) => attribute(place, 'type') === 'drive')
  if (address === undefined) return `${bus}-disk${letters(dev)}`
  const part = (name: string) => attribute(address, name) ?? '0'
  const isOld = bus !== 'scsi' || controllerModel(devices, part('controller')) === 'lsilogic'
  const parts = isOld ? ['controller', 'bus', 'unit'] : ['controller', 'bus', 'target', 'unit']
  return bus + parts.map(part).join('-')
}

function controllerModel(devices: Element, index: string): string | undefined {
  const controller = children(devices, 'controller').find(
    (one) => attribute(one, 'type') === 'scsi' && (attribute(one, 'index') ?? '0') === index,
  )
  return attribute(controller, 'model')
}

/** The number of a disk by its letters: 0 for "vda", 26 for "vdaa". */
function letters(target: string): number {
  const [, name = 'a'] = /^(?:fd|hd|vd|sd|xvd|ubd)([a-z]+)/.exec(target) ?? []
  let index = 0
  for (const letter of name) index = index * 26 + letter.charCodeAt(0) - 96
  return index - 1
}
