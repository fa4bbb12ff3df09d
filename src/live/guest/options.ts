/** What can be said of a running guest that is to be backed up: the options of guest-source. */

import { z } from '../../core/stage.ts'
import { configFiles } from '../../stages/cluster-source/config-files.ts'
import type { GuestStatus } from '../guest-figures.ts'
import type { WriteTimes } from '../write-times.ts'
import { FSFREEZE_MODES, MODES } from './modes.ts'

/** What the code that runs the pipeline is told of the guest. */
export interface GuestListener {
  /** In words, such as "guest web01 (QEMU at /run/vm1.qmp)", before the first item flows. */
  name?(text: string): void
  /** About every second. */
  status?(status: GuestStatus): void
  /** How long the guest's writes took up to now: at once, and every few seconds. */
  writes?(times: WriteTimes): void
  /** At the end of a successful run; null if the service that serves the guest's disk is gone and cannot tell. */
  end?(status: GuestStatus | null): void
}

const text = z.string().min(1)

export const guestOptions = z
  .strictObject({
    qmp: text.optional().describe("QMP socket of the guest's QEMU"),
    'shared-monitor': z
      .boolean()
      .default(false)
      .describe('with qmp: other programs use this socket too, so it is let go between commands'),
    libvirt: text.optional().describe('the guest by its name in libvirt, through virsh'),
    connect: text.optional().describe("with libvirt: URI of the libvirt to connect to; virsh's own choice by default"),
    attach: text.optional().describe("control socket of the `vmapipe serve` that serves the guest's disk"),
    drives: z
      .union([z.array(text), z.record(text, z.union([z.string(), z.null()]))])
      .optional()
      .describe('names of the drives, or a map: with qmp, the name that each gets in the archive and its QEMU node'),
    exclude: z.array(text).default([]).describe('names of drives that are left out'),
    configs: configFiles(),
    mode: z
      .enum(MODES)
      .optional()
      .describe(
        'with qmp: guarded push (the guest is safe if this process is killed), plain push (backup jobs), or auto: guarded if possible',
      ),
    agent: text.optional().describe("with qmp: socket of the guest's agent"),
    fsfreeze: z
      .enum(FSFREEZE_MODES)
      .optional()
      .describe("with agent: freeze the guest's filesystems for the point in time; auto goes on if that fails"),
    'with-ram': z
      .boolean()
      .default(false)
      .describe("with qmp (QEMU 10 or later): the guest's memory too, as the drive vmstate"),
    'socket-dir': text.optional().describe('with qmp: folder for the sockets between QEMU and this process'),
    track: z
      .boolean()
      .default(false)
      .describe(
        'with qmp: leave a dirty bitmap in QEMU, so that the next backup reads only what was written since; one with change-filter always does',
      ),
    beside: z
      .record(text, text)
      .optional()
      .describe(
        'with qmp: images that are read as they are, beside the drives of QEMU: their names in the archive, and their places',
      ),
    guest: text.optional().describe('which guest this is, for the record of the archive'),
    uuid: z.guid().optional().describe('uuid of the archive; a new one by default'),
    ctime: z
      .int()
      .min(0)
      .optional()
      .describe('with qmp: time of the archive in seconds since the epoch; now by default'),
    listener: z
      .custom<GuestListener>((value) => typeof value === 'object' && value !== null)
      .optional()
      .describe('in code: is told how the guest is doing'),
  })
  .superRefine((given, context) => {
    const [message, key] = conflict(given) ?? []
    if (message !== undefined) context.addIssue({ code: 'custom', message, path: key === undefined ? [] : [key] })
  })
  // For editors: a guest must be named.
  .meta({ minProperties: 1 })

export type GuestOptions = z.output<typeof guestOptions>

/** What cannot be together: in words, and the option that is wrong. */
function conflict(given: GuestOptions): [message: string, key?: string] | null {
  const places = (['qmp', 'libvirt', 'attach'] as const).filter((key) => given[key] !== undefined)
  if (places.length !== 1) return ['name one guest, by qmp, libvirt or attach', places.at(1)]
  if (given['shared-monitor'] && given.qmp === undefined)
    return ['is for a guest that is named by qmp', 'shared-monitor']
  if (given.connect !== undefined && given.libvirt === undefined) return ['is for a guest of libvirt', 'connect']
  if (given.attach !== undefined) return conflictWithAttach(given)
  if (given['with-ram'] && given.mode === 'push')
    return ['the memory of the guest can be backed up with guarded push only', 'mode']
  if (given['with-ram'] && given.fsfreeze === 'on')
    return [
      'with its memory the guest would come back with its filesystems frozen; leave fsfreeze out: what is not on the drives yet is in the memory',
      'fsfreeze',
    ]
  return null
}

function conflictWithAttach(given: GuestOptions): [message: string, key: string] | null {
  for (const key of ['mode', 'agent', 'fsfreeze', 'socket-dir', 'ctime'] as const)
    if (given[key] !== undefined) return ['is for the guest of a QEMU (qmp or libvirt)', key]
  if (given['with-ram']) return ['is for the guest of a QEMU (qmp or libvirt)', 'with-ram']
  const { drives = [] } = given
  const named = Array.isArray(drives) ? undefined : Object.entries(drives).find(([, node]) => node)
  return named === undefined
    ? null
    : [`drive ${named[0]} is the running guest's and keeps its name; write only the name`, 'drives']
}
