/** `vmapipe backup` of the guest of a stock QEMU. */

import { type Command, Option } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import type { FsfreezeMode } from '../../live/qemu/freeze/fsfreeze.ts'
import type { Mode } from '../../live/qemu/inventory/mode.ts'
import { configRecord, type JobFlags } from '../flags.ts'
import { runJob } from '../run-job.ts'
import { backupSummary } from '../summary.ts'

export interface QemuFlags {
  qmp?: string
  libvirt?: string
  mode?: Mode
  agent?: string
  fsfreeze?: FsfreezeMode
  withRam?: boolean
  socketDir?: string
}

interface BackupFlags extends JobFlags, QemuFlags {
  maxStall?: number
  drive?: [string, string][]
  config?: string[]
  output: string
  compress?: string
  force?: boolean
  checksums: boolean
  index: boolean
}

const MODES: readonly Mode[] = ['auto', 'guarded', 'push']
const FSFREEZE_MODES: readonly FsfreezeMode[] = ['auto', 'on', 'off']

export function qemuOptions(command: Command): void {
  const mode = 'with --qmp: guarded push (the guest is safe from us), plain push (backup jobs), or auto, which says why'
  const freeze = "with --agent: freeze the guest's filesystems for the point in time; auto goes on where that fails"
  command
    .option('--qmp <socket>', 'back up the running guest of this QEMU; -d NAME picks drives, -d NAME=NODE names them')
    .option('--libvirt <domain>', 'the same by its name in libvirt, through virsh')
    .addOption(new Option('--mode <how>', mode).choices(MODES))
    .option('--agent <socket>', "with --qmp: socket of the guest's agent")
    .addOption(new Option('--fsfreeze <when>', freeze).choices(FSFREEZE_MODES))
    .option('--with-ram', "with --qmp (QEMU 10 or later): the guest's memory too, restored as vmstate.bin")
    .option('--socket-dir <folder>', 'with --qmp: where the sockets between QEMU and this program are made')
}

export function isOfQemu({ qmp, libvirt }: QemuFlags): boolean {
  return qmp !== undefined || libvirt !== undefined
}

export function refuseQemuFlags({ mode, agent, fsfreeze, withRam, socketDir }: QemuFlags): void {
  if ([mode, agent, fsfreeze, withRam, socketDir].every((flag) => flag === undefined)) return
  throw new VmapipeError(
    'USAGE',
    '--mode, --agent, --fsfreeze, --with-ram and --socket-dir are for the guest of a QEMU',
    {
      hint: 'add --qmp SOCKET or --libvirt DOMAIN',
    },
  )
}

export async function runQemu({ drive, config, output, buffer, threads, ...flags }: BackupFlags): Promise<void> {
  const { progress, quiet, verbose, ...wishes } = flags
  const { qemuBackup } = await import('../../jobs/qemu-backup.ts')
  await runJob(
    'backup',
    { buffer, threads, progress, quiet, verbose },
    (options, onGuest) =>
      qemuBackup({
        ...{ ...options, ...wishes, drives: drive, configs: configRecord(config), to: output },
        onGuest,
      }),
    backupSummary,
  )
}
