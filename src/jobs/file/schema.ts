/** The structure of a job file: which guests are backed up, where to, when, and who is told. */

import * as z from 'zod'
import { parseSpan } from '../../catalog/calendar.ts'
import { waitDuration } from '../../core/duration-option.ts'
import type { VmapipeError } from '../../core/errors.ts'
import { byteRate, byteSize } from '../../core/size-option.ts'
import { notifySchema } from '../notify/schema.ts'
import { backupFields, placeFields } from './backup-options.ts'
import { duration, oneOrMore, rhythm, window, word } from './values.ts'

/** The keys of an entry of `guests` that say where the guests come from. An entry has one of them. */
export const GUEST_KINDS = ['libvirt', 'qmp', 'attach', 'proxmox', 'drives'] as const
export type GuestKind = (typeof GUEST_KINDS)[number]

const guestEntry = z
  .strictObject({
    libvirt: oneOrMore(word)
      .optional()
      .describe('patterns of names in libvirt, such as "*" or "web-*"; running or shut off'),
    qmp: oneOrMore(word).optional().describe('patterns of QMP sockets, such as /run/vms/*.qmp'),
    attach: oneOrMore(word)
      .optional()
      .describe('patterns of control sockets of vmapipe serve, such as /run/vmapipe/*.ctl'),
    proxmox: oneOrMore(z.union([z.int().min(1), word]))
      .optional()
      .describe('ids of guests of Proxmox VE, or ranges: 100, "100-199", "*"'),
    drives: z
      .union([z.record(word, z.string()), z.array(word)], { error: 'expected a map of drives, or a list of names' })
      .optional()
      .describe(
        'alone: a guest of drives at rest, by their names; otherwise the drives of the guest that are backed up',
      ),
    name: word.optional().describe('name of the guest, if the entry is for one'),
    'name-from': z
      .enum(['file', 'folder', 'qemu'])
      .optional()
      .describe('where the names of guests that are found by sockets come from: the name of the socket by default'),
    exclude: oneOrMore(word).optional().describe('patterns of names of guests that are left out'),
    ...backupFields,
  })
  .superRefine((entry, context) => {
    const kinds = GUEST_KINDS.filter((kind) => kind !== 'drives' && entry[kind] !== undefined)
    if (kinds.length > 1) context.addIssue(`${kinds.join(' and ')} are two kinds of guests: make two entries of them`)
    if (kinds.length > 0) return
    if (entry.drives === undefined) context.addIssue('expected one of libvirt, qmp, attach, proxmox or drives')
    else if (Array.isArray(entry.drives))
      context.addIssue('drives at rest need their sources: drive-scsi0: /srv/disk.raw')
    else if (entry.name === undefined) context.addIssue('a guest of drives at rest needs a name')
  })

const count = z.int().min(0).max(100_000)

const span = z.string().superRefine((text, context) => {
  try {
    parseSpan(text)
  } catch (error) {
    context.addIssue((error as VmapipeError).message)
  }
})

/** How many archives stay: the newest, and the newest of as many hours, days, weeks, months and years. */
export const keepSchema = z
  .strictObject({
    last: count.optional(),
    hourly: count.optional(),
    daily: count.optional(),
    weekly: count.optional(),
    monthly: count.optional(),
    yearly: count.optional(),
    within: span
      .optional()
      .describe('all archives that are at most this much older than the newest, such as 14d or 1y6m'),
  })
  .refine((keep) => Object.values(keep).some((value) => value !== 0), { message: 'nothing would be kept' })

const placeEntry = z.strictObject({
  place: word.describe('a folder, ssh://user@host/folder or s3://bucket/prefix; each guest gets a folder in it'),
  keep: keepSchema.optional().describe('how many archives of each guest stay; all of them by default'),
  required: z.boolean().optional().describe('false: a backup has succeeded without this place too; true by default'),
  parallel: z
    .int()
    .min(1)
    .max(1000)
    .optional()
    .describe('guests that are written there at once; limits.per-place by default'),
  storage: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, { message: 'expected a name such as nas1' })
    .optional()
    .describe('the storage that it is on, which other hosts of a fleet may write to by other places'),
  ...placeFields,
})

const limits = z.strictObject({
  parallel: z.int().min(1).max(1000).optional().describe('guests at once on this host; 2 by default'),
  'per-place': z.int().min(1).max(1000).optional().describe('guests at once that are written to one place'),
  'per-disk': z.int().min(1).max(1000).optional().describe('guests at once whose images are on one disk of this host'),
  rate: byteRate().optional().describe('the most bytes a second that all guests together are read with'),
  window: window.optional().describe('the part of the day in which guests are begun, such as 22:00-06:00'),
  'at-end': z
    .enum(['finish', 'slow', 'stop'])
    .optional()
    .describe("what becomes of running backups at the window's end; finish by default"),
  'slow-rate': byteRate()
    .optional()
    .describe('with at-end: slow, the bytes a second of all of them; 10MiB/s by default'),
  'max-stall': waitDuration().optional().describe('the longest time that a write of a guest waits'),
  memory: byteSize({ min: 64 << 20 })
    .optional()
    .describe('of the whole run, for the service that job install writes'),
})

const retry = z.strictObject({
  count: z.int().min(0).max(100).optional().describe('how often a guest that failed is tried again; 2 by default'),
  delay: duration({ max: 86_400 }).optional().describe('how long after its failure; 5m by default'),
})

const check = z.strictObject({
  verify: z.enum(['after', 'none']).optional().describe('after: read each archive back when it is complete'),
  sample: z
    .string()
    .regex(/^\d{1,3}(\.\d+)?%$/, { message: 'expected a part such as 5%' })
    .optional()
    .describe('verify this part of the archives that are there, the longest unverified first'),
  boot: rhythm.optional().describe('boot the newest archive of one guest a night in turn, each guest so often'),
  'boot-timeout': duration({ min: 10, max: 7200 }).optional().describe('how long the guest may take; 5m by default'),
})

const command = z.union([word, z.array(word).min(1)], {
  error: 'expected a command, or a list of a program and its words',
})

const hooks = z.strictObject({
  start: command.optional().describe('when a run begins; if it fails, no guest is backed up'),
  before: command.optional().describe('before each guest; if it fails, the guest is not backed up'),
  after: command.optional().describe('after each guest that succeeded'),
  failed: command.optional().describe('after each guest that failed'),
  end: command.optional().describe('when a run has ended'),
  timeout: duration({ min: 1, max: 86_400 }).optional().describe('how long a command may take; 10m by default'),
})

const unit = z.strictObject({
  user: word.optional().describe('who runs it; root by default'),
  group: word.optional(),
  'random-delay': duration({ max: 86_400 }).optional().describe('spread over so much time; 5m by default'),
  environment: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string()).optional(),
  'environment-file': word.optional().describe('a file with variables such as AWS_SECRET_ACCESS_KEY'),
})

export const jobSchema = z.strictObject({
  $schema: z.string().optional(),
  description: z.string().max(1000).optional(),
  guests: z
    .array(guestEntry)
    .min(1)
    .describe('which guests; the first entry that has a guest says how it is backed up'),
  to: z
    .union([word, placeEntry, z.array(z.union([word, placeEntry])).min(1)], {
      error: 'expected a place, or a list of places',
    })
    .transform(
      (value) =>
        (Array.isArray(value) ? value : [value]).map((place) =>
          typeof place === 'string' ? { place } : place,
        ) as PlaceEntry[],
    )
    .describe('where the archives go'),
  schedule: oneOrMore(word)
    .optional()
    .describe('when: as systemd reads it, such as Mon..Sat 01:30, or a cron expression'),
  promise: duration({ min: 60, example: '26h' })
    .optional()
    .describe('how old the last good backup of a guest may be; one and a half of the longest interval by default'),
  full: rhythm
    .optional()
    .describe(
      'how often an archive is a full one, otherwise it is incremental: always (the default), weekly, monthly, 14d, every 7, never',
    ),
  ...backupFields,
  limits: limits.optional(),
  retry: retry.optional(),
  check: check.optional(),
  hooks: hooks
    .optional()
    .describe(
      'commands; a text is run by /bin/sh, a list without a shell; what they are about is in variables such as VMAPIPE_GUEST',
    ),
  notify: notifySchema.optional(),
  metrics: word.optional().describe("the folder of the node exporter's textfile collector"),
  identity: z.array(word).optional().describe('files with secret keys, to read encrypted archives back'),
  unit: unit.optional().describe('for job install'),
})

/** A place of a job, with what stays there. */
export type PlaceEntry = z.infer<typeof placeEntry>
/** An entry of `guests`: where guests come from, and how they are backed up. */
export type GuestEntry = z.infer<typeof guestEntry>
export type JobFile = z.infer<typeof jobSchema>

/** A job as it was read. All times are milliseconds, sizes bytes. */
export interface Job extends JobFile {
  /** Name of the file, without its suffix. */
  name: string
  /** The whole path of the file. */
  file: string
}
