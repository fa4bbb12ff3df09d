/** Makes the XML of a reduced domain name the places of a restore: its images, the variables of UEFI, and who it is. */

import type { Domain, DomainDisk } from './domain.ts'
import { append, attribute, children, content, ensure, find, remove, setContent } from './xml.ts'

/** Where a disk is now. */
export interface ImagePlace {
  path: string
  format: string
  /** For a live restore: the NBD export below the image, which has what the image does not have yet. */
  over?: { socket: string; name: string }
}

export interface Rewriting {
  name: string
  uuid: string
  /** libvirt makes up MAC addresses that are new. */
  newMac?: boolean
  /** By the targets of the disks. */
  images: ReadonlyMap<string, ImagePlace>
  /** The file with the variables of UEFI; undefined if libvirt is to make a new one. */
  nvram?: string | undefined
  /** Paths of the firmware that this host's libvirt offers. */
  loaders: readonly string[]
}

export function rewriteDomain(domain: Domain, rewriting: Rewriting, warn: (message: string) => void): void {
  const { root } = domain
  const { name, uuid, newMac } = rewriting
  const isNew = domain.uuid !== uuid
  setContent(ensure(root, 'name'), name)
  setContent(ensure(root, 'uuid'), uuid)
  if (isNew) renewIdentity(domain)
  for (const disk of domain.disks) rewriteDisk(disk, rewriting.images.get(disk.target), warn)
  rewriteFirmware(domain, rewriting, warn)
  if (!newMac || domain.devices === undefined) return
  for (const network of children(domain.devices, 'interface')) {
    const mac = find(network, 'mac')
    if (mac !== undefined) remove(mac)
  }
}

/** A copy is another machine: what tells machines apart is made anew by libvirt. */
function renewIdentity({ root }: Domain): void {
  const genid = find(root, 'genid')
  if (genid !== undefined) setContent(genid, '')
  // libvirt refuses a table of the firmware with another uuid than the domain's.
  const system = find(root, 'sysinfo', 'system')
  for (const entry of system ? children(system, 'entry') : []) if (attribute(entry, 'name') === 'uuid') remove(entry)
}

function rewriteDisk(disk: DomainDisk, image: ImagePlace | undefined, warn: (message: string) => void): void {
  const { element, device, target, source } = disk
  element.setAttribute('type', 'file')
  if (device === 'cdrom' || device === 'floppy') {
    const medium = attribute(source, 'file') ?? attribute(source, 'dev') ?? attribute(source, 'name')
    if (medium !== undefined) warn(`the drive ${target} is empty now: its medium '${medium}' is left out`)
    find(element, 'driver')?.setAttribute('type', 'raw')
    return
  }
  if (image === undefined) {
    remove(element)
    warn(`the disk ${target} is left out: the archive does not have it`)
    return
  }
  element.setAttribute('device', 'disk')
  const driver = ensure(element, 'driver')
  driver.setAttribute('name', 'qemu')
  driver.setAttribute('type', image.format)
  append(element, 'source', { file: image.path })
  if (image.over === undefined) return
  // The guest waits, and sees no error, if what is below its image goes away.
  driver.setAttribute('error_policy', 'stop')
  driver.setAttribute('rerror_policy', 'stop')
  const store = append(element, 'backingStore', { type: 'network' })
  append(store, 'format', { type: 'raw' })
  const below = append(store, 'source', { protocol: 'nbd', name: image.over.name })
  append(below, 'host', { transport: 'unix', socket: image.over.socket })
  append(store, 'backingStore')
}

/** The firmware's own file must be one that libvirt offers here. Otherwise libvirt chooses. */
function rewriteFirmware(domain: Domain, { nvram, loaders }: Rewriting, warn: (message: string) => void): void {
  const { os, isUefi } = domain
  if (os === undefined) return
  const loader = find(os, 'loader')
  const path = content(loader)
  if (loader !== undefined && path !== undefined && !loaders.includes(path)) {
    warn(`the firmware '${path}' is left out: libvirt does not offer it here, and chooses another`)
    if (isUefi) setContent(loader, '')
    else remove(loader)
  }
  if (isUefi && loader !== undefined && content(loader) === undefined) {
    const secure = attribute(loader, 'secure')
    remove(loader)
    if (secure !== undefined) append(os, 'loader', { secure })
  }
  if (isUefi && content(find(os, 'loader')) === undefined) os.setAttribute('firmware', 'efi')
  const before = find(os, 'nvram')
  if (before !== undefined) remove(before)
  if (isUefi && nvram !== undefined) setContent(append(os, 'nvram'), nvram)
}
