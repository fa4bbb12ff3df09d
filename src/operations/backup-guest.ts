/** Backs up a running guest into one VMA archive: a guest of `vmapipe serve`, of a stock QEMU, or of libvirt. */

import { LEAST_BUDGET } from '../core/budget.ts'
import { durationText, LONGEST_WAIT, SHORTEST_WAIT } from '../core/duration.ts'
import { VmapipeError } from '../core/errors.ts'
import { callback, checkOptions, flag, names, type Shape, text } from '../core/options.ts'
import { z } from '../core/stage.ts'
import { FSFREEZE_MODES, MODES } from '../live/guest/modes.ts'
import type { GuestStatus } from '../live/guest-figures.ts'
import { type OperationOptions, operationShape } from './operation.ts'
import { boundStages, type PlannedStage, plannedLimit } from './plan.ts'
import { type BackupResult, runBackup } from './run-backup.ts'
import { plannedSince, plannedWriting, type WritingOptions, writingShape } from './write-archive.ts'

/** Which guest is backed up, and where to. */
export interface BackupGuestOptions extends OperationOptions, WritingOptions {
  /** QMP socket of the guest's QEMU. One of `qmp`, `libvirt` and `attach` names the guest. */
  qmp?: string
  /** With `qmp`: other programs use this socket too. It is let go between commands, and asked every few seconds. */
  sharedMonitor?: boolean
  /** The guest by its name in libvirt, through virsh. */
  libvirt?: string
  /** URI of that libvirt; virsh's own choice by default. */
  connect?: string
  /** Control socket of the disk server (`serve`, `vmapipe serve`) that is the guest's disk. */
  attach?: string
  /** Names of the drives; for a guest of QEMU also the name of each drive in the archive with its node. All drives by default. */
  drives?: readonly string[] | Readonly<Record<string, string>>
  /** Names of drives that are left out. */
  exclude?: readonly string[]
  /** Paths of files that are carried unchanged, by their name in the archive. */
  configs?: Record<string, string>
  /** Milliseconds that a write of the guest waits for the archive at most, from 100 to 3600000; 10000 by default. */
  maxStall?: number
  /** With `attach`: bytes of old data that may wait in the memory of the disk server. */
  guestBuffer?: number
  /** For a guest of QEMU: guarded push or plain push. By default guarded push if it is possible. */
  mode?: (typeof MODES)[number]
  /** For a guest of QEMU: the socket of its guest agent. */
  agent?: string
  /** Whether the agent is asked to freeze the guest's filesystems for the point in time; `auto` goes on if that fails. */
  fsfreeze?: (typeof FSFREEZE_MODES)[number]
  /** For a guest of QEMU: archives its memory at the point in time too, as the drive `vmstate`. */
  withRam?: boolean
  /** For a guest of QEMU: leaves a dirty bitmap, so that the next incremental backup reads only what was written; one of those always does. */
  track?: boolean
  /** For a guest of QEMU: the folder for the sockets between QEMU and this process; the folder for temporary files by default. */
  socketDir?: string
  /** Called with the state of the guest, about every second. */
  onGuest?: (status: GuestStatus) => void
}

const shape = {
  ...operationShape,
  ...writingShape,
  qmp: text,
  sharedMonitor: flag,
  libvirt: text,
  connect: text,
  attach: text,
  drives: z.union([names, z.record(text, z.string())]),
  exclude: names,
  configs: z.record(z.string(), text),
  maxStall: z.int().min(SHORTEST_WAIT).max(LONGEST_WAIT),
  guestBuffer: z.int().min(LEAST_BUDGET),
  mode: z.enum(MODES),
  agent: text,
  fsfreeze: z.enum(FSFREEZE_MODES),
  withRam: flag,
  track: flag,
  socketDir: text,
  onGuest: callback,
} satisfies Shape<BackupGuestOptions>

/**
 * Backs up a guest while it runs, at one point in time. Resolves when the archive is complete and durable. The guest goes on
 * in every case, and nothing is left in its QEMU. Errors: USAGE, FAILED, INCOMPLETE, ABORTED.
 *
 *     const { guest } = await backupGuest({ qmp: '/run/vm1.qmp', to: 'vm1.vma.zst' })
 *     console.log(guest?.waiting.max, 'ms was the longest that a write waited')
 */
export async function backupGuest(options: BackupGuestOptions): Promise<BackupResult> {
  checkOptions('backupGuest', { shape, required: ['to'] }, options)
  const { onGuest } = options
  return runBackup(boundStages(plannedGuestBackup(options)), { ...options, onGuest })
}

/** What other operations add to the backup of a guest. */
interface More {
  /** Config files that are made by the operation, by their name in the archive, or where they are. */
  contents?: Record<string, string | Uint8Array>
  /** Images that are read as they are, by their name in the archive. */
  beside?: Record<string, string>
}

export function plannedGuestBackup(
  options: BackupGuestOptions,
  { contents = {}, beside = {} }: More = {},
): PlannedStage[] {
  const { drives, exclude, bwlimit, maxStall, guestBuffer } = options
  const configs = { ...contents, ...options.configs }
  const { qmp, sharedMonitor, libvirt, connect, attach, mode, agent, fsfreeze, withRam, track, socketDir } = options
  const { guest: named, uuid, ctime } = options
  if (withRam) refuseWithRam(options)
  const guest = {
    ...{ qmp, libvirt, connect, attach, drives, exclude: exclude?.length ? exclude : undefined },
    'shared-monitor': sharedMonitor || undefined,
    beside: Object.keys(beside).length === 0 ? undefined : beside,
    configs: Object.keys(configs).length === 0 ? undefined : configs,
    ...{
      mode,
      agent,
      fsfreeze,
      'with-ram': withRam || undefined,
      track: track || undefined,
      'socket-dir': socketDir,
      guest: named,
      uuid,
      ctime,
    },
  }
  const interceptor = { 'max-stall': maxStall && durationText(maxStall), buffer: guestBuffer }
  return [
    ['guest-source', guest],
    ...plannedLimit(bwlimit),
    ['write-interceptor', interceptor],
    ['zero-elider'],
    ...plannedSince(options),
    ...plannedWriting(options),
  ]
}

/** A guest that is started again from its memory would still have frozen filesystems. */
function refuseWithRam({ mode, fsfreeze }: BackupGuestOptions): void {
  if (mode === 'push')
    throw new VmapipeError('USAGE', 'the memory of the guest can be backed up with guarded push only')
  if (fsfreeze !== 'on') return
  throw new VmapipeError('USAGE', 'with its memory the guest would come back with its filesystems frozen', {
    hint: 'leave fsfreeze out: what is not on the drives yet is in the memory',
  })
}
