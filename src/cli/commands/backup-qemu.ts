/** Flags of `vmapipe backup` for the guest of a stock QEMU. */

import { type Command, Option } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { FSFREEZE_MODES, MODES } from '../../live/guest/modes.ts'

export interface QemuFlags {
  qmp?: string
  sharedMonitor?: boolean
  libvirt?: string
  connect?: string
  mode?: (typeof MODES)[number]
  agent?: string
  fsfreeze?: (typeof FSFREEZE_MODES)[number]
  withRam?: boolean
  socketDir?: string
  track?: boolean
}

export function qemuOptions(command: Command): void {
  const mode =
    'with --qmp: guarded push (the guest is safe from the backup), plain push (backup jobs of QEMU), or auto, which says its reason'
  const freeze = "with --agent: freeze the guest's filesystems for the point in time; auto goes on if that fails"
  command
    .option('--qmp <socket>', 'back up the running guest of this QEMU; -d NAME picks drives, -d NAME=NODE names them')
    .option('--shared-monitor', 'with --qmp: other programs use this socket too; let it go between commands')
    .option('--libvirt <domain>', 'the same by its name in libvirt, through virsh')
    .option('--connect <uri>', "with --libvirt: the URI of libvirt; virsh's own choice by default")
    .addOption(new Option('--mode <how>', mode).choices(MODES))
    .option('--agent <socket>', "with --qmp: socket of the guest's agent")
    .addOption(new Option('--fsfreeze <when>', freeze).choices(FSFREEZE_MODES))
    .option('--with-ram', "with --qmp (QEMU 10 or later): the guest's memory too, restored as vmstate.bin")
    .option('--track', 'with --qmp: leave a dirty bitmap in QEMU, so that the next --since reads only what was written')
    .option('--socket-dir <folder>', 'with --qmp: where the sockets between QEMU and this program are made')
}

export function isOfQemu({ qmp, libvirt }: QemuFlags): boolean {
  return qmp !== undefined || libvirt !== undefined
}

export function refuseQemuFlags(flags: QemuFlags): void {
  const { mode, agent, fsfreeze, withRam, socketDir, track, connect, sharedMonitor } = flags
  if (sharedMonitor)
    throw new VmapipeError('USAGE', '--shared-monitor is for the monitor of a QEMU', { hint: 'add --qmp SOCKET' })
  if (connect !== undefined)
    throw new VmapipeError('USAGE', '--connect is for a guest of libvirt', { hint: 'add --libvirt DOMAIN' })
  if ([mode, agent, fsfreeze, withRam, socketDir, track].every((flag) => flag === undefined)) return
  throw new VmapipeError(
    'USAGE',
    '--mode, --agent, --fsfreeze, --with-ram, --track and --socket-dir are for the guest of a QEMU',
    {
      hint: 'add --qmp SOCKET or --libvirt DOMAIN',
    },
  )
}
