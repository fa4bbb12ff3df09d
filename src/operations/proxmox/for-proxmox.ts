/** Makes an archive into one that `qmrestore` takes: its config, the names of its drives and its own name. */

import { asVmapipeError, printable, VmapipeError } from '../../core/errors.ts'
import { type ClusterItem, type ConfigFile, type DriveInfo, Manifest } from '../../core/items.ts'
import { type BoundStage, defineStage, z } from '../../core/stage.ts'
import { GUEST_JSON, MACHINE_VERSION, type Machine } from '../../machine/machine.ts'
import { archivedConfig } from '../../machine/proxmox/archived-config.ts'
import { PROXMOX_CONFIG, type ProxmoxConfig, parseProxmoxConfig, refuseVmid } from '../../machine/proxmox/config.ts'
import { configOfMachine, driveLine, type MadeDrive } from '../../machine/proxmox/config-of-machine.ts'
import { drivesOf } from '../../machine/proxmox/drives.ts'
import { machineOfProxmox } from '../../machine/proxmox/machine-of-config.ts'
import { type MapLine, mapLinesIn } from '../../machine/proxmox/map-lines.ts'
import { planDrives } from '../../machine/proxmox/plan-drives.ts'
import { reduceConfig } from '../../machine/proxmox/reduced-config.ts'
import { soundParts } from '../../machine/sound-parts.ts'

export interface ForProxmox {
  /** The new names of drives, by their old ones. */
  names: ReadonlyMap<string, string>
  config: ConfigFile
  /** Name of the guest; null if it is not known. */
  guest: string | null
  /** What the user has to know of the config. */
  notes: string[]
}

/** Throws USAGE if the archive has nothing that Proxmox could restore, FAILED for a guest that Proxmox cannot run. */
export function planForProxmox({ drives, configs }: Pick<Manifest, 'drives' | 'configs'>, vmid: number): ForProxmox {
  refuseVmid(vmid)
  const own = ownConfig(configs)
  const { machine, notes: before } =
    own === null ? machineIn(configs) : { machine: machineFor(own.config, own.map), notes: [] }
  const { planned, notes: changes } = planDrives({
    drives: drives.map(({ name }) => name),
    machine,
    occupied: own === null ? [] : drivesOf(own.config).map(({ key }) => key),
  })
  const lost = planned.find(({ key }) => key === '')
  if (lost !== undefined)
    throw new VmapipeError('FAILED', `Proxmox has no place for so many drives`, { drive: lost.from })
  const made = planned.map((drive, index) => ({ ...drive, size: drives[index].size }))
  const { text, notes } = own === null ? configOfMachine(machine, made, vmid) : reduced(own.config, made, vmid)
  const map = made.map((drive) => mapOf(drive, own?.map))
  const config = archivedConfig(parseProxmoxConfig(text), { map, leftOut: lacking(text, made) })
  return {
    names: new Map(made.map(({ from, name }) => [from, name])),
    config: { name: PROXMOX_CONFIG, data: Buffer.from(config) },
    guest: parseProxmoxConfig(text).values.get('name') ?? null,
    notes: [...before, ...changes, ...notes].map(printable),
  }
}

/** The stage that gives the archive its new config and the drives their new names. */
export function renamedFor({ names, config }: ForProxmox): BoundStage {
  const stage = defineStage({
    name: 'for-proxmox',
    summary: 'gives config and drives the names that Proxmox looks for',
    input: 'clusters',
    output: 'clusters',
    options: z.strictObject({}),
    create: () => (item: ClusterItem) => {
      if (item.kind !== 'manifest') return item
      const drives: DriveInfo[] = item.drives.map((drive) => ({ ...drive, name: names.get(drive.name)! }))
      const configs = [config, ...item.configs.filter(({ name }) => name !== PROXMOX_CONFIG)]
      return new Manifest({ ...item, drives, configs })
    },
  })
  return stage()
}

interface OwnConfig {
  config: ProxmoxConfig
  map: MapLine[]
}

/** The config of Proxmox that the archive has; null if it has none that can be read. */
function ownConfig(configs: readonly ConfigFile[]): OwnConfig | null {
  const file = configs.find(({ name }) => name === PROXMOX_CONFIG)
  if (file === undefined) return null
  try {
    const config = parseProxmoxConfig(file.data)
    if (config.values.size === 0) return null
    return { config, map: mapLinesIn(Buffer.from(file.data).toString()) }
  } catch {
    return null
  }
}

/** The places of the drives are those of the map lines: a drive may have been named in another way. */
function machineFor(config: ProxmoxConfig, map: readonly MapLine[]): Machine {
  const machine = machineOfProxmox(config)
  const named = new Map(map.map(({ key, drive }) => [`drive-${key}`, drive]))
  const disks = machine.disks.map((disk) => ({ ...disk, drive: named.get(disk.drive) ?? disk.drive }))
  const variables = map.find(({ key }) => key === 'efidisk0')?.drive
  const firmware = machine.firmware && { ...machine.firmware, ...(variables !== undefined && { variables }) }
  return { ...machine, disks, ...(firmware && { firmware }) }
}

function machineIn(configs: readonly ConfigFile[]): { machine: Machine; notes: string[] } {
  const nothing: Machine = { version: MACHINE_VERSION, from: 'qemu', disks: [] }
  const file = configs.find(({ name }) => name === GUEST_JSON)
  if (file === undefined) return { machine: nothing, notes: ['the archive does not describe its guest'] }
  try {
    const machine = soundParts(JSON.parse(Buffer.from(file.data).toString()))
    if (machine !== null) return { machine, notes: [] }
    return { machine: nothing, notes: [`${GUEST_JSON} of the archive is no description of a guest`] }
  } catch (error) {
    return {
      machine: nothing,
      notes: [`${GUEST_JSON} of the archive cannot be read: ${asVmapipeError(error).message}`],
    }
  }
}

/** The config as it is, without what belongs to a host, and with lines for drives that it does not have. */
function reduced(config: ProxmoxConfig, made: readonly MadeDrive[], vmid: number): { text: string; notes: string[] } {
  const kept = made.map(({ key }) => key)
  const { config: harmless, removed } = reduceConfig(config, kept)
  const missing = made.filter(({ key }) => !harmless.values.has(key))
  const own = harmless.lines.map(({ text, key }) => {
    const drive = key === null ? undefined : made.find((one) => one.key === key)
    return drive !== undefined && isOfHost(config.values.get(drive.key)!)
      ? driveLine(drive, made.indexOf(drive), vmid)
      : text
  })
  const added = missing.map((drive) => driveLine(drive, made.indexOf(drive), vmid))
  const isUefi = config.values.get('bios') === 'ovmf' || !kept.includes('efidisk0')
  const bios = isUefi ? [] : ['bios: ovmf']
  const text = [
    ...own.filter((line) => line.trim() !== '' && (isUefi || !line.startsWith('bios:'))),
    ...bios,
    ...added,
  ].join('\n')
  const notes = [
    ...(isUefi ? [] : ['the archive has variables of UEFI: bios: ovmf']),
    ...removed.map((line) => `left out of the config, as it is of another host: ${line.slice(0, 100)}`),
    ...missing.map(({ from, key }) => `the config does not have ${from}: it becomes ${key}`),
  ]
  return { text: `${text}\n`, notes }
}

/** Whether the value of a drive names a file of a host, and not a volume. */
function isOfHost(value: string): boolean {
  return !/^(file=)?[A-Za-z][\w.-]*:[\w./+-]+(,|$)/.test(value)
}

/** Keys of drives that the archive does not have; CD-ROMs and the like are none. */
function lacking(text: string, made: readonly MadeDrive[]): string[] {
  const kept = made.map(({ key }) => key)
  return drivesOf(parseProxmoxConfig(text)).flatMap(({ key, leftOut }) =>
    kept.includes(key) || leftOut !== null ? [] : [key],
  )
}

function mapOf({ from, key, name, disk }: MadeDrive, map: readonly MapLine[] = []): MapLine {
  const known = map.find((line) => line.drive === from)
  const format = known?.format || disk?.format || 'raw'
  const storage = known?.storage ?? disk?.storage ?? ''
  return {
    key,
    drive: name,
    storage: /^[A-Za-z][\w.-]*[A-Za-z0-9]$/.test(storage) ? storage : '',
    format: ['raw', 'qcow2', 'vmdk'].includes(format) ? format : 'raw',
  }
}
