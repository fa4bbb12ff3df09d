/**
 * `vm.json`: what QMP tells of the machine that the drives belong to, so that a user who restores them can build one like it. It goes
 * into the archive as a config file. It has only what QEMU tells, and not the paths of the drives on the host. It changes nothing.
 */

import type { ConfigFile } from '../../../core/items.ts'
import { isObject, type Json, objectsOf, textOf } from '../../../protocol/json.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import type { QemuDrive } from './discovery.ts'
import { type Monitor, qomChildren, qomGet, refusedAsUndefined } from './qom.ts'

const MACHINE_FILE = 'vm.json'

interface MachineDevice {
  id?: string
  type: string
  bus?: string
  /** Its place on a PCI bus: slot and function, "1f.2". */
  address?: string
  /** Properties that matter to a guest, if the device has them and they are set. */
  [property: string]: unknown
}

export interface MachineDescription {
  /** Version of this description. */
  format: 1
  qemu: { version: string; package: string }
  name?: string
  uuid?: string
  /** running, paused, prelaunch, … */
  status?: string
  /** Machine type: pc-q35-7.2 */
  machine?: string
  arch?: string
  kvm?: boolean
  cpu: { count?: number; type?: string; topology?: unknown }
  /** Bytes. */
  memory: { base?: number; plugged?: number }
  iothreads: string[]
  devices: MachineDevice[]
  drives: (Pick<QemuDrive, 'name' | 'size' | 'id' | 'type' | 'node' | 'format'> & { iothread?: string })[]
}

/** Worth keeping, of any device that has them. */
const PROPERTIES = ['mac', 'netdev', 'serial', 'bootindex', 'chardev', 'iothread', 'drive']
/** Values that say "not set". */
const UNSET: unknown[] = [undefined, null, '', -1]

export async function describeMachine(
  monitor: Pick<QmpClient, 'execute' | 'version'>,
  drives: readonly QemuDrive[],
): Promise<MachineDescription> {
  const ask = async (command: string): Promise<Json | undefined> => {
    const answer = await refusedAsUndefined(monitor.execute(command))
    return isObject(answer) ? answer : undefined
  }
  const [name, uuid, status, target, kvm] = await Promise.all(
    ['query-name', 'query-uuid', 'query-status', 'query-target', 'query-kvm'].map(ask),
  )
  const [machine, cpu, memory, iothreads, devices] = await Promise.all([
    qomGet(monitor, '/machine', 'type'),
    describeCpus(monitor),
    ask('query-memory-size-summary'),
    refusedAsUndefined(monitor.execute('query-iothreads')),
    describeDevices(monitor),
  ])
  const { major, minor, micro, package: build } = monitor.version
  return {
    format: 1,
    qemu: { version: `${major}.${minor}.${micro}`, package: build },
    name: textOf(name?.name),
    uuid: textOf(uuid?.UUID),
    status: textOf(status?.status),
    machine: textOf(machine)?.replace(/-machine$/, ''),
    arch: textOf(target?.arch),
    kvm: typeof kvm?.enabled === 'boolean' ? kvm.enabled : undefined,
    cpu,
    memory: { base: number(memory?.['base-memory']), plugged: number(memory?.['plugged-memory']) },
    iothreads: objectsOf(iothreads).flatMap(({ id }) => textOf(id) ?? []),
    devices,
    drives: drives.map(describeDrive),
  }
}

/** The description as a file for the archive. */
export function machineConfig(description: MachineDescription): ConfigFile {
  return { name: MACHINE_FILE, data: Buffer.from(`${JSON.stringify(description, null, 2)}\n`) }
}

async function describeCpus(monitor: Monitor): Promise<MachineDescription['cpu']> {
  const cpus = await refusedAsUndefined(monitor.execute('query-cpus-fast'))
  const [first] = Array.isArray(cpus) ? cpus : []
  const path = textOf(first?.['qom-path'])
  const [type, topology] = await Promise.all([
    path === undefined ? undefined : qomGet(monitor, path, 'type'),
    qomGet(monitor, '/machine', 'smp'),
  ])
  return { count: Array.isArray(cpus) ? cpus.length : undefined, type: textOf(type), topology }
}

/** What the command line or a hot plug added; what every machine of its type has is left out. */
async function describeDevices(monitor: Monitor): Promise<MachineDevice[]> {
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

function describeDrive({ name, size, id, type, node, format, iothread }: QemuDrive) {
  return { name, size, id, type, node, format, ...(iothread !== null && { iothread }) }
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}
