/** What a config of Proxmox says of its guest, in the words that all hypervisors share. */

import { MACHINE_VERSION, type Machine, type MachineDisk, type MachineNetwork } from '../machine.ts'
import { soundParts } from '../sound-parts.ts'
import type { ProxmoxConfig } from './config.ts'
import { drivesOf, type ProxmoxDrive } from './drives.ts'
import { isOn, parseProperties } from './properties.ts'
import { parseVolume } from './storage.ts'

const MIB = 1 << 20

/** What is not as Proxmox writes it is left out. */
export function machineOfProxmox(config: ProxmoxConfig): Machine {
  const { values } = config
  const machine = parseProperties(values.get('machine') ?? '')
  const type = machine.plain ?? machine.named.get('type')
  const all = drivesOf(config)
  const drives = all.filter(({ leftOut }) => leftOut === null)
  const order = bootOrder(values.get('boot'))
  const given = {
    version: MACHINE_VERSION,
    from: 'proxmox',
    name: values.get('name'),
    uuid: parseProperties(values.get('smbios1') ?? '')
      .named.get('uuid')
      ?.toLowerCase(),
    type: type ?? 'pc',
    arch: values.get('arch') ?? 'x86_64',
    memory: memoryOf(values.get('memory')),
    cpu: cpuOf(values),
    firmware: firmwareOf(values, drives),
    tpm: tpmOf(drives),
    agent: agentOf(values.get('agent')),
    disks: drives.flatMap((drive) => diskOf(drive, values, order)),
    networks: networksOf(values, order),
  }
  return soundParts(given)!
}

function memoryOf(value: string | undefined): number | undefined {
  const { plain, named } = parseProperties(value ?? '512')
  const text = plain ?? named.get('current') ?? ''
  return /^\d{1,9}$/.test(text) && Number(text) > 0 ? Number(text) * MIB : undefined
}

function cpuOf(values: ReadonlyMap<string, string>) {
  const { plain, named } = parseProperties(values.get('cpu') ?? '')
  const count = (key: string) => {
    const text = values.get(key) ?? '1'
    return /^\d{1,5}$/.test(text) ? Number(text) : undefined
  }
  return {
    model: plain ?? named.get('cputype') ?? 'kvm64',
    sockets: count('sockets'),
    cores: count('cores'),
    threads: 1,
  }
}

function firmwareOf(values: ReadonlyMap<string, string>, drives: readonly ProxmoxDrive[]) {
  if (values.get('bios') !== 'ovmf') return { kind: 'bios' }
  const variables = drives.find(({ key }) => key === 'efidisk0')
  const secureBoot = variables && isOn(variables.properties.get('pre-enrolled-keys'))
  return { kind: 'uefi', secureBoot, variables: variables?.archiveName }
}

function tpmOf(drives: readonly ProxmoxDrive[]) {
  const drive = drives.find(({ key }) => key === 'tpmstate0')
  if (drive === undefined) return undefined
  const version = drive.properties.get('version') === 'v2.0' ? '2.0' : '1.2'
  return { version, state: drive.archiveName }
}

function agentOf(value: string | undefined): boolean | undefined {
  if (value === undefined) return undefined
  const { plain, named } = parseProperties(value)
  return isOn(plain ?? named.get('enabled'))
}

function diskOf(drive: ProxmoxDrive, values: ReadonlyMap<string, string>, order: readonly string[]): MachineDisk[] {
  const [, bus, number] = /^(ide|sata|scsi|virtio)(\d+)$/.exec(drive.key) ?? []
  if (bus === undefined) return []
  const { properties, volume } = drive
  const place = order.indexOf(drive.key)
  return [
    {
      drive: drive.archiveName,
      bus: bus as 'ide' | 'sata' | 'scsi' | 'virtio',
      unit: Number(number),
      format: properties.get('format') ?? /\.(qcow2|vmdk)$/.exec(volume)?.[1] ?? 'raw',
      ...optional('storage', parseVolume(volume)?.storage),
      ...(bus === 'scsi' && { controller: values.get('scsihw') ?? 'lsi' }),
      ...optional('serial', serialOf(properties.get('serial'))),
      ...(place >= 0 && { bootOrder: place }),
      ...(isOn(properties.get('ro')) && { readOnly: true }),
    },
  ]
}

function serialOf(text: string | undefined): string | undefined {
  try {
    return text && decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function networksOf(values: ReadonlyMap<string, string>, order: readonly string[]): MachineNetwork[] {
  const keys = [...values.keys()].filter((key) => /^net\d{1,2}$/.test(key))
  keys.sort((a, b) => Number(a.slice(3)) - Number(b.slice(3)))
  return keys.flatMap((key) => {
    const { named } = parseProperties(values.get(key)!)
    const [own] = [...named].filter(([, value]) => MAC.test(value))
    const model = own?.[0] === 'macaddr' ? named.get('model') : own?.[0]
    if (own === undefined || model === undefined) return []
    const place = order.indexOf(key)
    const found = { model, mac: own[1].toLowerCase(), ...optional('bridge', named.get('bridge')) }
    return [{ ...found, ...(place >= 0 && { bootOrder: place }) }]
  })
}

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i

/** Keys of what the guest boots from. */
function bootOrder(value: string | undefined): string[] {
  const { named } = parseProperties(value ?? '')
  return (named.get('order') ?? '').split(';').filter((key) => key !== '')
}

function optional<K extends string>(key: K, value: string | undefined): { [key in K]?: string } {
  return (value === undefined || value === '' ? {} : { [key]: value }) as { [key in K]?: string }
}
