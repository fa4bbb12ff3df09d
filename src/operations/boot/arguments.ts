/**
 * The command line of QEMU for a boot. The machine comes from somebody else's archive: a value of it is used only if it is one of those
 * that are known, everything that has an option's grammar is written as JSON, and no path or device of the host is in it.
 */

import type { Machine } from '../../machine/machine.ts'
import { diskArguments, type ScriptImage } from '../../machine/qemu/disks.ts'
import { boardOf, isQ35, type Note } from '../../machine/qemu/values.ts'
import type { Accelerator } from './accelerator.ts'
import type { Firmware } from './firmware.ts'

export interface BootArguments {
  accel: Accelerator
  /** Bytes of memory, and processors. */
  memory: number
  processors: number
  /** The NBD socket of the drives, whose exports have these names. */
  socket: string
  exports: readonly ScriptImage[]
  uefi?: { firmware: Firmware; variables: string } | undefined
  note: Note
}

/** Descriptors that QEMU is started with: its monitor, and its end of the guest agent. */
export const MONITOR_FD = 3
export const AGENT_FD = 4
/** The id of the agent's port, as events name it. */
export const AGENT_PORT = 'agent0'

export function bootArguments(machine: Machine, options: BootArguments): string[] {
  const { accel, memory, processors, note, uefi } = options
  const board = boardKind(machine, note)
  return [
    ...['-name', 'vmapipe-boot', '-machine', board, '-accel', accel],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-nic', 'none'],
    // The last picture of a guest that switches itself off can then be seen.
    '-no-shutdown',
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    // A processor that has all that this host has, whichever it was: a boot needs no migration.
    ...['-cpu', 'max', '-smp', String(processors), '-m', `${Math.max(1, memory >> 20)}M`],
    ...(uefi === undefined ? [] : flash(uefi)),
    ...['-chardev', `socket,id=monitor,fd=${MONITOR_FD}`, '-mon', 'chardev=monitor,mode=control'],
    // The first serial console is our end of standard output.
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-device', 'VGA', '-device', 'pvpanic'],
    ...['-object', 'rng-builtin,id=rng0', '-device', 'virtio-rng-pci,rng=rng0'],
    ...['-chardev', `socket,id=agent,fd=${AGENT_FD}`, '-device', 'virtio-serial-pci'],
    ...['-device', `virtserialport,chardev=agent,name=org.qemu.guest_agent.0,id=${AGENT_PORT}`],
    ...disks(machine, board, options),
  ]
}

/** The board of the guest. Of a version that this QEMU may not know, the newest of its kind. */
export function boardKind(machine: Pick<Machine, 'type' | 'firmware'>, note: Note = () => {}): 'q35' | 'pc' {
  // UEFI of a guest of which nothing is known is one of a new machine.
  if (machine.type === undefined) return machine.firmware?.kind === 'uefi' ? 'q35' : 'pc'
  return isQ35(boardOf(machine, note)) ? 'q35' : 'pc'
}

function flash({ firmware, variables }: NonNullable<BootArguments['uefi']>): string[] {
  const file = (filename: string, readOnly: boolean, name: string) => [
    '-blockdev',
    JSON.stringify({
      'node-name': name,
      driver: 'raw',
      'read-only': readOnly,
      file: { driver: 'file', filename, 'read-only': readOnly },
    }),
  ]
  return [
    ...file(firmware.code, true, 'uefi-code'),
    ...file(variables, false, 'uefi-variables'),
    ...['-machine', 'pflash0=uefi-code,pflash1=uefi-variables'],
  ]
}

function disks(machine: Machine, board: string, { socket, exports, note }: BootArguments): string[] {
  return diskArguments(machine, exports, { board, note }).flatMap(([option, value]) => {
    if (option !== '-blockdev') return [option, JSON.stringify(value)]
    const { 'node-name': name, 'read-only': readOnly, file } = value as BlockNode
    const node = {
      ...{ 'node-name': name, driver: 'raw', 'read-only': readOnly, discard: 'unmap' },
      // What the guest writes is thrown away at the end: nothing must be durable.
      cache: { 'no-flush': true },
      file: { driver: 'nbd', server: { type: 'unix', path: socket }, export: file.filename },
    }
    return [option, JSON.stringify(node)]
  })
}

interface BlockNode {
  'node-name': string
  'read-only': boolean
  file: { filename: string }
}
