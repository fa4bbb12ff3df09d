/**
 * `guest.json`: what QMP tells of the machine that the drives belong to, so that a machine like it can be made of the archive. It goes
 * into the archive as a config file. It has only what QEMU tells, and no paths of the host. Nothing is changed in QEMU.
 */

import { GUEST_JSON, MACHINE_VERSION, type Machine } from '../../../machine/machine.ts'
import { isCount, isObject, type Json, objectsOf, textOf } from '../../../protocol/json.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import type { QemuDrive } from './discovery.ts'
import { describeDevices, type MachineDevice } from './machine-devices.ts'
import { describeDisks } from './machine-disks.ts'
import { describeFirmware } from './machine-firmware.ts'
import { describeNetworks } from './machine-networks.ts'
import { type Monitor, qomGet, qomText, refusedAsUndefined } from './qom.ts'

/** A `Machine`, and what only QEMU tells. */
export type QemuMachine = Machine & {
  qemu: { version: string; package: string }
  /** running, paused, prelaunch, … */
  status?: string
  kvm?: boolean
  iothreads: string[]
  /** What the command line or a hot plug added, as QEMU names it. */
  devices: MachineDevice[]
}

/** The uuid of a machine that was given none. */
const NO_UUID = '00000000-0000-0000-0000-000000000000'

/**
 * Describes the machine of a running QEMU (7.2 and later). `drives` are those of the archive, under the names that they have there.
 * What QEMU cannot tell is left out.
 */
export async function describeMachine(
  monitor: Pick<QmpClient, 'execute' | 'version'>,
  drives: readonly QemuDrive[],
): Promise<QemuMachine> {
  const ask = async (command: string): Promise<Json | undefined> => {
    const answer = await refusedAsUndefined(monitor.execute(command))
    return isObject(answer) ? answer : undefined
  }
  const [name, uuid, status, target, kvm, memory] = await Promise.all(
    ['query-name', 'query-uuid', 'query-status', 'query-target', 'query-kvm', 'query-memory-size-summary'].map(ask),
  )
  const [type, cpu, firmware, tpm, iothreads, disks, networks, devices] = await Promise.all([
    qomText(monitor, '/machine', 'type'),
    describeCpu(monitor),
    describeFirmware(monitor, drives),
    describeTpm(monitor),
    refusedAsUndefined(monitor.execute('query-iothreads')),
    describeDisks(monitor, drives),
    describeNetworks(monitor),
    describeDevices(monitor),
  ])
  const { major, minor, micro, package: build } = monitor.version
  const id = textOf(uuid?.UUID)
  return withoutUnset({
    version: MACHINE_VERSION,
    from: 'qemu' as const,
    name: textOf(name?.name)?.slice(0, 255),
    uuid: id === NO_UUID ? undefined : id,
    type: type?.replace(/-machine$/, ''),
    arch: textOf(target?.arch),
    memory: bytesOf(memory),
    cpu,
    firmware,
    tpm,
    disks,
    networks,
    qemu: { version: `${major}.${minor}.${micro}`, package: build },
    status: textOf(status?.status),
    kvm: typeof kvm?.enabled === 'boolean' ? kvm.enabled : undefined,
    iothreads: objectsOf(iothreads).flatMap(({ id }) => textOf(id) ?? []),
    devices,
  })
}

/** The description as a file for the archive. */
export function machineConfig(machine: Machine): { name: string; data: Uint8Array<ArrayBuffer> } {
  return { name: GUEST_JSON, data: new TextEncoder().encode(`${JSON.stringify(machine, null, 2)}\n`) }
}

async function describeCpu(monitor: Monitor): Promise<Machine['cpu']> {
  const [cpus, smp] = await Promise.all([
    refusedAsUndefined(monitor.execute('query-cpus-fast')),
    qomGet(monitor, '/machine', 'smp'),
  ])
  const list = objectsOf(cpus)
  const path = textOf(list[0]?.['qom-path'])
  const type = path === undefined ? undefined : await qomText(monitor, path, 'type')
  const topology = isObject(smp) ? smp : {}
  const number = (value: unknown) => (isCount(value) && value > 0 ? value : undefined)
  return withoutUnset({
    model: type?.replace(/-(x86_64|i386|arm|riscv64|s390x|powerpc64|ppc64|loongarch)?-?cpu$/, ''),
    count: number(list.length),
    sockets: number(topology.sockets),
    dies: number(topology.dies),
    cores: number(topology.cores),
    threads: number(topology.threads),
  })
}

async function describeTpm(monitor: Monitor): Promise<Machine['tpm']> {
  const [tpm] = objectsOf(await refusedAsUndefined(monitor.execute('query-tpm')))
  // QEMU does not tell the version. Machines of today have a TPM 2.0.
  return tpm === undefined ? undefined : withoutUnset({ version: '2.0', model: textOf(tpm.model) })
}

function bytesOf(memory: Json | undefined): number | undefined {
  const [base, plugged] = [memory?.['base-memory'], memory?.['plugged-memory'] ?? 0]
  return isCount(base) && base > 0 && isCount(plugged) ? base + plugged : undefined
}

/** The object without its undefined properties: it is compared and printed. */
export function withoutUnset<T extends object>(object: T): T {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T
}
