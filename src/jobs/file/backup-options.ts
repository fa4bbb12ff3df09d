/** What `vmapipe backup` has options for, as fields of a job file: for all guests, or in one entry of `guests` for those alone. */

import * as z from 'zod'
import { LEAST_BUDGET } from '../../core/budget.ts'
import { waitDuration } from '../../core/duration-option.ts'
import { byteRate, byteSize } from '../../core/size-option.ts'
import { FSFREEZE_MODES, MODES } from '../../live/guest/modes.ts'
import { word } from './values.ts'

export const backupFields = {
  compress: word
    .optional()
    .describe('zstd[:LEVEL], lz4, gzip[:LEVEL], each with ,frame=128KiB, or none; zstd by default'),
  buffer: byteSize({ min: LEAST_BUDGET })
    .optional()
    .describe('memory for data on its way, such as 64MiB, for each guest'),
  threads: z.int().min(1).max(256).optional().describe('tasks of one backup that run at once'),
  rate: byteRate().optional().describe('the most bytes a second that are read from the drives of one guest'),
  'max-stall': waitDuration().optional().describe('the longest time that a write of the guest waits, such as 2s'),
  'exclude-drives': z.array(word).optional().describe('drives of a running guest that are left out'),
  configs: z
    .union([z.array(word), z.record(word, word)])
    .optional()
    .describe('config files, carried unchanged: paths, or paths by their names in the archive'),
  connect: word.optional().describe('the URI of libvirt'),
  mode: z.enum(MODES).optional().describe('how a stock QEMU is backed up'),
  agent: word.optional().describe("socket of the guest's agent"),
  fsfreeze: z.enum(FSFREEZE_MODES).optional().describe("freeze the guest's filesystems for the point in time"),
  'with-ram': z.boolean().optional().describe("the guest's memory too"),
  track: z
    .boolean()
    .optional()
    .describe('leave a dirty bitmap in QEMU, so that the next incremental backup reads less'),
  'socket-dir': word.optional().describe('where the sockets between QEMU and vmapipe are made'),
  'in-order': z.boolean().optional().describe('write one drive after the other (drives at rest)'),
  'force-share': z.boolean().optional().describe('read images that another program has open for writing'),
  checksums: z.boolean().optional().describe('checksums of the data and hashes of clusters; true by default'),
  index: z.boolean().optional().describe('the index of the archive; true by default'),
  pipeline: word
    .optional()
    .describe(
      'a pipeline config instead, which is given the parameters GUEST, SOURCE, TARGET and those of `set`; its path counts from the folder of the job file',
    ),
  set: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string())
    .optional()
    .describe('parameters for `pipeline`'),
}

/** What one place can say about the archives there. */
export const placeFields = {
  recipients: z.array(word).min(1).optional().describe('encrypt for these public keys of age (age1…)'),
  'recipients-files': z.array(word).min(1).optional().describe('encrypt for the public keys in these files'),
  'retain-for': z
    .string()
    .regex(/^[1-9]\d{0,4}d$/, { message: 'expected a number of days such as 30d' })
    .optional()
    .describe('s3://: nobody can remove an archive for so many days (Object Lock)'),
  'storage-class': word.optional().describe('s3://: such as STANDARD_IA'),
  sse: word.optional().describe('s3://: encryption by the store'),
  tags: z.record(z.string(), z.string()).optional().describe('s3://: tags of the object'),
}
