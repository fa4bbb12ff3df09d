/** Flags of `vmapipe backup` for a guest of Proxmox, and the run of such a backup. */

import { type Command, InvalidArgumentError } from 'commander'
import type { Keyring } from '../../codecs/age/keyring.ts'
import { VmapipeError } from '../../core/errors.ts'
import type { FSFREEZE_MODES, MODES } from '../../live/guest/modes.ts'
import type { WritingOptions } from '../../operations/write-archive.ts'
import type { RunFlags } from '../flags.ts'
import { driveRecord } from '../flags.ts'
import { runOperation } from '../run-operation.ts'
import { backupSummary } from '../summary.ts'

export interface ProxmoxFlags {
  proxmox?: number
  proxmoxConfig?: string
  notesTemplate?: string
}

export function proxmoxOptions(command: Command): void {
  command
    .option(
      '--proxmox <vmid>',
      'back up this guest of Proxmox, running or not, so that qmrestore takes the archive; -o DIR/ gives it a name of Proxmox',
      vmid,
    )
    .option('--proxmox-config <file>', 'with --proxmox: the config of the guest; that of the host by default')
    .option(
      '--notes-template <text>',
      "with --proxmox: notes beside the archive; '{{guestname}}' by default, {{node}}, {{vmid}} and {{cluster}} are known too",
    )
}

export function vmid(text: string): number {
  if (!/^[1-9]\d{2,8}$/.test(text)) throw new InvalidArgumentError('it is a number from 100 to 999999999')
  return Number(text)
}

export function refuseProxmoxFlags({ proxmoxConfig, notesTemplate }: ProxmoxFlags): void {
  const flag =
    proxmoxConfig !== undefined ? '--proxmox-config' : notesTemplate !== undefined ? '--notes-template' : null
  if (flag === null) return
  throw new VmapipeError('USAGE', `${flag} is for a guest of Proxmox`, { hint: 'add --proxmox VMID' })
}

interface Given extends ProxmoxFlags {
  proxmox: number
  attach?: string
  libvirt?: string
  connect?: string
  withRam?: boolean
  guest?: string
  forceShare?: boolean
  inOrder?: boolean
  sharedMonitor?: boolean
  printPipeline?: boolean
  drive?: [string, string][]
  exclude?: string[]
  qmp?: string
  agent?: string
  mode?: (typeof MODES)[number]
  fsfreeze?: (typeof FSFREEZE_MODES)[number]
  maxStall?: number
  track?: boolean
  socketDir?: string
}

type Writing = WritingOptions & { bwlimit?: number | undefined; configs: Record<string, string> }

/** Resolves with where the archives are. */
export async function runProxmox(
  flags: Given,
  writing: Writing,
  run: RunFlags,
  keys?: Keyring,
): Promise<readonly string[]> {
  refuseOthers(flags)
  const { proxmox, proxmoxConfig, notesTemplate, drive = [], exclude, qmp, agent } = flags
  const { mode, fsfreeze, maxStall, track, socketDir } = flags
  const bare = drive.find(([, source]) => source === '')
  if (bare !== undefined) {
    throw new VmapipeError('USAGE', `drive ${bare[0]} has no source`, {
      hint: `its place is in the config; write -d ${bare[0]}=PATH to say another, or leave others out by --exclude`,
    })
  }
  const { backupProxmox } = await import('../../operations/proxmox/backup-proxmox.ts')
  const wish = {
    ...{ vmid: proxmox, config: proxmoxConfig, notes: notesTemplate, drives: driveRecord(drive), exclude, qmp, agent },
    ...{ mode, fsfreeze, maxStall, track, socketDir },
  }
  const { places } = await runOperation(
    'backup',
    run,
    (options, onGuest) => backupProxmox({ ...options, ...given({ ...writing, ...wish, keys }), onGuest }),
    backupSummary,
  )
  return places
}

/** Without what is undefined. */
function given<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}

function refuseOthers(flags: Given): void {
  const others = { '--attach': flags.attach, '--libvirt': flags.libvirt, '--connect': flags.connect }
  const two = Object.entries(others).find(([, value]) => value !== undefined)
  if (two !== undefined) {
    throw new VmapipeError('USAGE', `--proxmox and ${two[0]} name two guests`, { hint: 'give one of them' })
  }
  const useless = {
    '--with-ram': [flags.withRam, 'qmrestore has no place for the memory of a guest'],
    '--guest': [flags.guest, 'the number of the guest names it'],
    '--force-share': [flags.forceShare, 'what is read of a running guest comes from its QEMU, and is never torn'],
    '--in-order': [flags.inOrder, 'rewrite the archive: vmapipe repack --compress none'],
    '--print-pipeline': [flags.printPipeline, "the guest's config is read and changed when the backup begins"],
  } as const
  for (const [flag, [value, why]] of Object.entries(useless)) {
    if (value) throw new VmapipeError('USAGE', `${flag} does not go with --proxmox`, { hint: why })
  }
}
