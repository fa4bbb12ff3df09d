/** What is said of a backup of a guest of Proxmox. */

import { Keyring } from '../../codecs/age/keyring.ts'
import { LONGEST_WAIT, SHORTEST_WAIT } from '../../core/duration.ts'
import { callback, flag, names, type Shape, text } from '../../core/options.ts'
import { z } from '../../core/stage.ts'
import { FSFREEZE_MODES, MODES } from '../../live/guest/modes.ts'
import type { GuestStatus } from '../../live/guest-figures.ts'
import type { WriteTimes } from '../../live/write-times.ts'
import { type OperationOptions, operationShape } from '../operation.ts'
import { type WritingOptions, writingShape } from '../write-archive.ts'

/** Which guest of this host is backed up, and where to. */
export interface BackupProxmoxOptions extends OperationOptions, WritingOptions {
  /** Number of the guest, from 100 to 999999999. */
  vmid: number
  /** Its config; that of the host by default. A config that is named is not trusted: it may use the guest's own volumes alone. */
  config?: string
  /** The storages of the host; `/etc/pve/storage.cfg` by default. */
  storages?: string
  /** Its monitor, if it runs; the one of the host by default. */
  qmp?: string
  /** The socket of its agent; that of the host by default, if the config says that the guest has one. */
  agent?: string
  /** Places of images of a guest that is switched off, by their key in the config, for storages that are not known here. */
  drives?: Record<string, string>
  /** Keys of drives that are left out. */
  exclude?: readonly string[]
  /** Paths of more files that are carried unchanged, by their name in the archive. */
  configs?: Record<string, string>
  /** The template of the notes beside the archive; `{{guestname}}` by default. */
  notes?: string
  /** Guarded push or plain push, if the guest runs. By default guarded push if it is possible. */
  mode?: (typeof MODES)[number]
  /** Whether the agent is asked to freeze the guest's filesystems for the point in time; `auto` goes on if that fails. */
  fsfreeze?: (typeof FSFREEZE_MODES)[number]
  /** Milliseconds that a write of the guest waits for the archive at most, from 100 to 3600000; 10000 by default. */
  maxStall?: number
  /** Leaves a dirty bitmap in QEMU, so that the next incremental backup reads only what was written; one of those always does. */
  track?: boolean
  /** The folder for the sockets between QEMU and this process; the folder for temporary files by default. */
  socketDir?: string
  /** What opens the parent of an incremental archive, if it is encrypted. */
  keys?: Keyring
  /** Called with the state of the guest, about every second. */
  onGuest?: (status: GuestStatus) => void
  /** If it runs: called with how long its writes took up to now, every few seconds. */
  onWrites?: (times: WriteTimes) => void
}

export const proxmoxShape = {
  ...operationShape,
  ...writingShape,
  vmid: z.int(),
  config: text,
  storages: text,
  qmp: text,
  agent: text,
  drives: z.record(text, text),
  exclude: names,
  configs: z.record(z.string(), text),
  notes: z.string(),
  mode: z.enum(MODES),
  fsfreeze: z.enum(FSFREEZE_MODES),
  maxStall: z.int().min(SHORTEST_WAIT).max(LONGEST_WAIT),
  track: flag,
  socketDir: text,
  keys: z.instanceof(Keyring),
  onGuest: callback,
  onWrites: callback,
} satisfies Shape<BackupProxmoxOptions>
