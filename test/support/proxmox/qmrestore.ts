/**
 * Says what Proxmox's `qmrestore` and web page would object to in an archive: its name, its header as `vma` reads it, the config in it
 * and the map of its drives. It shares no code with the program. No Proxmox is at hand: the rules are facts that were read.
 */

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

const NAME =
  /^vzdump-qemu-[1-9][0-9]{2,8}-\d{4}_(0\d|1[0-2])_([0-2]\d|3[01])-([01]\d|2[0-3])_[0-5]\d_[0-5]\d\.vma(\.(zst|gz|lzo))?$/
const MAP = /^#qmdump#map:(\S+):(\S+):(\S*):(\S*):$/
const DRIVE_KEY = /^(ide[0-3]|sata[0-5]|scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5])|efidisk0|tpmstate0)$/
const STORAGE = /^[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]$/
const VOLUME = /^([A-Za-z][A-Za-z0-9._-]*:\S+|\/dev\/\S+|none|cdrom)$/
/** The keys of a config that these archives may have; a real Proxmox knows some more. */
const KEYS =
  /^(acpi|affinity|agent|arch|args|audio0|balloon|bios|boot|bootdisk|cicustom|cipassword|citype|ciupgrade|ciuser|cores|cpu|cpulimit|cpuunits|description|freeze|hookscript|hostpci\d+|hotplug|hugepages|ipconfig\d+|ivshmem|keephugepages|keyboard|kvm|localtime|machine|memory|meta|migrate_(downtime|speed)|name|nameserver|net\d+|numa\d*|onboot|ostype|parallel\d|protection|reboot|rng0|scsihw|searchdomain|serial\d|shares|smbios1|smp|sockets|spice_enhancements|sshkeys|startdate|startup|tablet|tags|tdf|template|usb\d+|vcpus|vga|vmgenid|vmstatestorage|watchdog)$/

export interface Inside {
  configs: Map<string, string>
  devices: Map<string, number>
  objections: string[]
}

/** Every objection; none for an archive that Proxmox takes. */
export function objections(archive: string): string[] {
  const found: string[] = []
  const name = basename(archive)
  if (!NAME.test(name)) found.push(`the name ${name} is none of Proxmox's`)
  const { configs, devices, objections: inside } = inspect(archive)
  found.push(...inside)
  const config = configs.get('qemu-server.conf')
  if (config === undefined) return [...found, 'there is no qemu-server.conf']
  const notes = `${archive}.notes`
  if (existsSync(notes)) {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(notes))
    } catch {
      found.push('the notes are not UTF-8')
    }
  }
  const log = join(dirname(archive), name.replace(/\.vma.*$/, '.log'))
  if (existsSync(log) && readFileSync(log).includes(0)) found.push('the log has NULs in it')
  return [...found, ...objectionsToConfig(config, devices)]
}

export function objectionsToConfig(config: string, devices: ReadonlyMap<string, number>): string[] {
  const found: string[] = []
  const values = new Map<string, string>()
  const mapped = new Map<string, string>()
  for (const line of config.split('\n')) {
    const map = MAP.exec(line)
    if (map !== null) {
      const [, key, device, storage, format] = map
      if (!DRIVE_KEY.test(key)) found.push(`a map line for ${key}, which is no drive`)
      if (mapped.has(key)) found.push(`two map lines for ${key}`)
      if ([...mapped.values()].includes(device)) found.push(`two map lines for ${device}`)
      if (!devices.has(device)) found.push(`archive does not contain data for drive '${key}'`)
      if (storage !== '' && !STORAGE.test(storage)) found.push(`a map line with the storage '${storage}'`)
      if (!['', 'raw', 'qcow2', 'vmdk'].includes(format)) found.push(`a map line with the format '${format}'`)
      mapped.set(key, device)
      continue
    }
    if (/^#(qmdump|vzdump)#/.test(line)) found.push(`a line of a backup that is no map line: ${line}`)
    if (line.startsWith('#') || line.trim() === '') continue
    const [, key, value] = /^([a-z][a-z_-]*\d*):\s*(\S.*?)\s*$/.exec(line) ?? []
    if (key === undefined) found.push(`a line that Proxmox cannot parse: ${line}`)
    else if (/^(lock|parent|unused\d+)$/.test(key)) found.push(`a line that vzdump leaves out: ${line}`)
    else if (values.has(key)) found.push(`two lines for ${key}`)
    else if (!DRIVE_KEY.test(key) && !KEYS.test(key)) found.push(`a key that Proxmox does not know: ${key}`)
    if (key !== undefined) values.set(key, value)
  }
  for (const device of devices.keys())
    if (![...mapped.values()].includes(device)) found.push(`found no device mapping information for device '${device}'`)
  return [...found, ...objectionsToValues(values, mapped)]
}

function objectionsToValues(values: ReadonlyMap<string, string>, mapped: ReadonlyMap<string, string>): string[] {
  const found: string[] = []
  for (const key of mapped.keys())
    if (!values.has(key)) found.push(`${key} is mapped, but the config has no such drive`)
  for (const [key, value] of values) {
    if (DRIVE_KEY.test(key)) found.push(...objectionsToDrive(key, value, mapped.get(key)))
    if (/^net\d+$/.test(key)) found.push(...objectionsToCard(key, value))
  }
  if (values.has('efidisk0') && mapped.has('efidisk0') && values.get('bios') !== 'ovmf')
    found.push('efidisk0 without bios: ovmf')
  const boot = /order=([^,]*)/.exec(values.get('boot') ?? '')?.[1]
  for (const key of boot?.split(';') ?? [])
    if (!DRIVE_KEY.test(key) && !/^(net|usb|hostpci)\d+$/.test(key))
      found.push(`it boots from ${key}, which is no device`)
  const name = values.get('name')
  const label = '[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
  if (name !== undefined && !new RegExp(`^${label}(\\.${label})*$`).test(name)) found.push(`the name '${name}'`)
  const memory = values.get('memory')
  if (memory !== undefined && !/^(current=)?\d+$/.test(memory)) found.push(`the memory '${memory}'`)
  for (const key of ['cores', 'sockets']) {
    const count = values.get(key)
    if (count !== undefined && !/^[1-9]\d*$/.test(count)) found.push(`${key} '${count}'`)
  }
  const uuid = /uuid=([^,]+)/.exec(values.get('smbios1') ?? '')?.[1]
  if (uuid !== undefined && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(uuid)) found.push(`the uuid '${uuid}'`)
  return found
}

function objectionsToDrive(key: string, value: string, device: string | undefined): string[] {
  const found: string[] = []
  const [first, ...rest] = value.split(',')
  const volume = first.replace(/^file=/, '')
  if (!VOLUME.test(volume)) found.push(`${key} has the volume '${volume}'`)
  for (const part of rest) if (!/^[a-z_-]+=[^,\s]+$/.test(part)) found.push(`${key} has the property '${part}'`)
  const size = rest.find((part) => part.startsWith('size='))
  if (size !== undefined && !/^size=\d+(\.\d+)?[KMGT]?$/.test(size)) found.push(`${key} has the ${size}`)
  // Without data a drive keeps its volume, which is that of the first guest.
  const isSafe = rest.includes('media=cdrom') || rest.includes('backup=0') || /cloudinit|^none$|^cdrom$/.test(volume)
  if (device === undefined && !isSafe) found.push(`${key} is not in the archive, and would go on using '${volume}'`)
  const expected = key === 'tpmstate0' ? 'drive-tpmstate0-backup' : `drive-${key}`
  if (device !== undefined && device !== expected) found.push(`${key} is called ${device}, not ${expected}`)
  return found
}

const CARD =
  /^(e1000|e1000-82540em|e1000-82544gc|e1000-82545em|e1000e|i82551|i82557b|i82559er|ne2k_isa|ne2k_pci|pcnet|rtl8139|virtio|vmxnet3)=([0-9A-F]{2}(:[0-9A-F]{2}){5})(,.*)?$/i

function objectionsToCard(key: string, value: string): string[] {
  const [, , mac] = CARD.exec(value) ?? []
  if (mac === undefined) return [`${key} is '${value}'`]
  return Number.parseInt(mac.slice(0, 2), 16) & 1 ? [`${key} has the address of a group`] : []
}

/** Reads the header as the format's page describes it. */
export function inspect(archive: string): Inside {
  const found: string[] = []
  const bytes = unpacked(archive)
  const configs = new Map<string, string>()
  const devices = new Map<string, number>()
  if (bytes.toString('latin1', 0, 4) !== 'VMA\0') return { configs, devices, objections: ['not a VMA header'] }
  if (bytes.readUInt32BE(4) !== 1) found.push(`version ${bytes.readUInt32BE(4)} of the header`)
  const size = bytes.readUInt32BE(56)
  if (size > 512 << 10) found.push('the header has more than 512 KiB')
  const header = Buffer.from(bytes.subarray(0, size))
  const sum = Buffer.from(header.subarray(32, 48))
  header.fill(0, 32, 48)
  if (!createHash('md5').update(header).digest().equals(sum)) found.push('the checksum of the header is wrong')
  const blobs = bytes.readUInt32BE(48)
  const blob = (offset: number) => {
    const at = blobs + offset
    return bytes.subarray(at + 2, at + 2 + bytes.readUInt16LE(at))
  }
  const text = (offset: number) => blob(offset).toString('utf8').replace(/\0$/, '')
  for (let index = 0; index < 256; index++) {
    const [name, data] = [bytes.readUInt32BE(2044 + 4 * index), bytes.readUInt32BE(3068 + 4 * index)]
    if (name === 0) continue
    if (configs.has(text(name))) found.push(`two config files of the name ${text(name)}`)
    if (text(name).includes('/')) found.push(`the config name ${text(name)}`)
    configs.set(text(name), blob(data).toString('utf8'))
  }
  for (let index = 1; index < 255; index++) {
    const at = 4096 + 32 * index
    const name = bytes.readUInt32BE(at)
    if (name === 0) continue
    const device = text(name)
    // The names are parts of lines for `vma` and of its own output.
    if (!/^[^\s:=]+$/.test(device)) found.push(`the name of the device '${device}'`)
    if (device === 'vmstate') found.push('the memory of a guest')
    devices.set(device, Number(bytes.readBigUInt64BE(at + 8)))
  }
  return { configs, devices, objections: found }
}

function unpacked(archive: string): Buffer {
  const [tool, ...args] = archive.endsWith('.zst')
    ? ['zstd', '-q', '-d', '-c']
    : archive.endsWith('.gz')
      ? ['zcat']
      : ['cat']
  return execFileSync(tool, [...args, archive], { maxBuffer: 1 << 30 })
}
