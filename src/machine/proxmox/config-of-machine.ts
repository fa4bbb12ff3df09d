/**
 * Makes the config of a guest of Proxmox for a guest from elsewhere. Only what is checked here gets into it: names, numbers and models
 * that Proxmox knows. What is not known gets a default, and a note says so.
 */

import { VmapipeError } from '../../core/errors.ts'
import type { Machine, MachineNetwork } from '../machine.ts'
import { modelOfCpu, modelOfNetwork, modelOfScsi } from './models.ts'
import type { PlannedDrive } from './plan-drives.ts'

export interface MadeDrive extends PlannedDrive {
  /** Bytes. */
  size: number
}

interface MadeConfig {
  text: string
  /** What was not known or cannot be the same in Proxmox, for the user. */
  notes: string[]
}

const MIB = 1 << 20
const DEFAULT_MEMORY = 2048
/** Bytes of OVMF's variables: those of the build with 4 MiB, which Proxmox uses by default, and with 2 MiB. */
const VARIABLES_4M = 540_672
const VARIABLES_2M = 131_072
/** Where the volumes are said to be. `qmrestore` puts the place of the restored volume there. */
const STORAGE = 'local'

export function configOfMachine(machine: Machine, drives: readonly MadeDrive[], vmid: number): MadeConfig {
  const notes: string[] = []
  const lines = [
    ...architecture(machine),
    ...hardware(machine, notes),
    ...firmware(machine, drives, notes),
    ...tpm(machine, drives, notes),
    ...disks(drives, vmid),
    ...networks(machine, notes),
    ...boot(machine, drives),
  ]
  return { text: `${lines.sort().join('\n')}\n`, notes }
}

function architecture({ arch = 'x86_64' }: Machine): string[] {
  if (arch === 'x86_64' || arch === 'i386' || arch === 'i686') return []
  if (arch === 'aarch64') return ['arch: aarch64']
  throw new VmapipeError('FAILED', `the guest has processors of the kind ${arch}, which Proxmox does not have`)
}

function hardware(machine: Machine, notes: string[]): string[] {
  const { memory, cpu, uuid, agent } = machine
  if (memory === undefined) notes.push(`the memory is not known: ${DEFAULT_MEMORY} MiB`)
  return [
    `name: ${hostName(machine.name, notes)}`,
    `memory: ${memory === undefined ? DEFAULT_MEMORY : Math.max(16, Math.floor(memory / MIB))}`,
    ...processors(cpu, notes),
    `cpu: ${modelOfCpu(cpu?.model, notes)}`,
    ...machineType(machine.type, notes),
    `scsihw: ${modelOfScsi(machine.disks.find(({ bus }) => bus === 'scsi')?.controller, notes)}`,
    'ostype: other',
    ...(uuid === undefined ? [] : [`smbios1: uuid=${uuid}`]),
    ...(agent ? ['agent: 1'] : []),
  ]
}

/** Proxmox has no dies, and no threads of a core: all of them are cores. */
function processors(cpu: Machine['cpu'], notes: string[]): string[] {
  const { count } = cpu ?? {}
  if (count === undefined && cpu?.cores === undefined && cpu?.sockets === undefined)
    notes.push('the number of processors is not known: 1 core')
  const sockets = Math.min(cpu?.sockets || 1, MOST_SOCKETS)
  const each = cpu?.cores === undefined ? Math.ceil((count || 1) / sockets) : cpu.cores || 1
  const cores = Math.min(
    each * (cpu?.dies || 1) * (cpu?.threads || 1) * Math.ceil((cpu?.sockets || 1) / sockets),
    MOST_CORES,
  )
  const isFewer = count !== undefined && count > 0 && count < cores * sockets
  return [`cores: ${cores}`, `sockets: ${sockets}`, ...(isFewer ? [`vcpus: ${count}`] : [])]
}

const MOST_SOCKETS = 4
const MOST_CORES = 128

/** A name as DNS has it, which Proxmox asks for. */
function hostName(name: string | undefined, notes: string[]): string {
  const parts = (name ?? '').split('.').map((part) => part.replace(/[^A-Za-z0-9-]+/g, '-').replace(/^-+|-+$/g, ''))
  const plain = parts
    .filter((part) => part !== '')
    .map((part) => part.slice(0, 63).replace(/-+$/, ''))
    .join('.')
    .slice(0, 200)
    .replace(/[.-]+$/, '')
  if (name === undefined) notes.push('the guest has no name: it is called restored')
  else if (plain !== name)
    notes.push(`Proxmox does not take the name of the guest: it is called ${plain || 'restored'}`)
  return plain || 'restored'
}

function machineType(type: string | undefined, notes: string[]): string[] {
  if (type === undefined) {
    notes.push("the type of the machine is not known: Proxmox's default, i440fx")
    return []
  }
  if (/^(pc-)?q35\b/.test(type)) return ['machine: q35']
  if (/^virt\b/.test(type)) return ['machine: virt']
  if (!/^(pc|pc-i440fx.*)$/.test(type)) notes.push(`a machine of the type ${type} becomes Proxmox's default, i440fx`)
  return []
}

function firmware({ firmware: of }: Machine, drives: readonly MadeDrive[], notes: string[]): string[] {
  const variables = drives.find(({ key }) => key === 'efidisk0')
  if (of === undefined) notes.push('the firmware is not known: a BIOS')
  if (of?.kind !== 'uefi') return variables === undefined ? [] : ['bios: ovmf']
  if (variables === undefined) {
    notes.push(
      'the variables of UEFI are not in the archive: after the restore, qm set VMID --efidisk0 STORAGE:1,efitype=4m makes new ones',
    )
  } else if (variables.size !== VARIABLES_4M && variables.size !== VARIABLES_2M) {
    notes.push(
      `the variables of UEFI have ${variables.size} bytes, which is no size of Proxmox's OVMF: the guest may not start`,
    )
  }
  return ['bios: ovmf']
}

function tpm({ tpm: of }: Machine, drives: readonly MadeDrive[], notes: string[]): string[] {
  if (of !== undefined && !drives.some(({ key }) => key === 'tpmstate0'))
    notes.push('the state of the TPM is not in the archive as Proxmox has it: the restored guest has no TPM')
  return []
}

function disks(drives: readonly MadeDrive[], vmid: number): string[] {
  return drives.map((drive, index) => driveLine(drive, index, vmid))
}

/** The line of a drive. `index`: a number that no other drive of this guest has. */
export function driveLine({ key, size, disk }: MadeDrive, index: number, vmid: number): string {
  const isSmall = key === 'efidisk0' || key === 'tpmstate0'
  const properties = [
    `${STORAGE}:${vmid}/vm-${vmid}-disk-${index}.raw`,
    ...(key === 'efidisk0' ? [`efitype=${size === VARIABLES_2M ? '2m' : '4m'}`] : []),
    ...(disk?.readOnly && /^(scsi|virtio)/.test(key) ? ['ro=1'] : []),
    ...(!isSmall && disk?.serial !== undefined && /^[\w-]{1,20}$/.test(disk.serial) ? [`serial=${disk.serial}`] : []),
    `size=${sizeText(size)}`,
    ...(key === 'tpmstate0' ? ['version=v2.0'] : []),
  ]
  return `${key}: ${properties.join(',')}`
}

/** As Proxmox writes it: in the largest unit of which it is a whole number. */
function sizeText(bytes: number): string {
  const units = ['', 'K', 'M', 'G', 'T']
  let [size, unit] = [bytes, 0]
  while (size >= 1024 && size % 1024 === 0 && unit < units.length - 1) [size, unit] = [size / 1024, unit + 1]
  return `${size}${units[unit]}`
}

/** Proxmox has 32 of them. */
const MOST_NETWORKS = 32

/** Those that Proxmox can have: their addresses are of one card, not of a group. */
function usableCards({ networks = [] }: Machine): MachineNetwork[] {
  return networks.filter(({ mac }) => (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0).slice(0, MOST_NETWORKS)
}

function networks(machine: Machine, notes: string[]): string[] {
  const usable = usableCards(machine)
  const missing = (machine.networks?.length ?? 0) - usable.length
  if (missing > 0) notes.push(`${missing} network cards are left out: Proxmox cannot have them`)
  if (usable.some(({ bridge }) => !isBridge(bridge)))
    notes.push('network cards are connected to vmbr0: change that before the guest starts, if it is another network')
  return usable.map(({ model, mac, bridge }, index) => {
    const place = isBridge(bridge) ? bridge : 'vmbr0'
    return `net${index}: ${modelOfNetwork(model, notes)}=${mac.toUpperCase()},bridge=${place}`
  })
}

function isBridge(name: string | undefined): boolean {
  return name !== undefined && /^vmbr\d{1,4}$/.test(name)
}

function boot(machine: Machine, drives: readonly MadeDrive[]): string[] {
  const bootable = drives.filter(({ key }) => key !== 'efidisk0' && key !== 'tpmstate0')
  const ordered = [
    ...bootable.map(({ key, disk }) => ({ key, order: disk?.bootOrder })),
    ...usableCards(machine).map(({ bootOrder }, index) => ({ key: `net${index}`, order: bootOrder })),
  ].filter(({ order }) => order !== undefined)
  ordered.sort((a, b) => a.order! - b.order!)
  const keys = ordered.length > 0 ? ordered.map(({ key }) => key) : bootable.slice(0, 1).map(({ key }) => key)
  return keys.length === 0 ? [] : [`boot: order=${keys.join(';')}`]
}
