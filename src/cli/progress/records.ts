/** Defines schemas of the JSON lines of `--progress json`. Only `vmapipe schema progress` and tests load them. */

import * as z from 'zod'
import { EXIT_CODES } from '../../core/errors.ts'
import { RECORD_VERSION } from './json.ts'

const bytes = z.number().min(0)
const rate = z.number().min(0).describe('bytes a second')

const common = { version: z.literal(RECORD_VERSION) }
const ofOperation = { ...common, operation: z.string().describe('the command, or the name of the pipeline') }

const figures = {
  elapsed: z.number().min(0).describe('seconds since the run began'),
  total: bytes.nullable().describe('bytes that the run has to go through'),
  done: bytes.describe('bytes of these that are done'),
  percent: z.number().min(0).max(100).nullable(),
  read: bytes.describe('bytes read from drives, or from the archive'),
  written: bytes.describe('bytes written to the target, or to drives'),
  zero: bytes.describe('bytes of drives that are zero'),
  archive: bytes.describe('bytes of the archive before compression'),
  readRate: rate,
  writeRate: rate,
  eta: z.number().min(0).nullable().describe('seconds until the run is done'),
}

const seconds = z.number().min(0)
const medium = z.string().nullable().describe('what the stage reads from or writes to')

const stage = z.looseObject({
  name: z.string().describe('the stage, as in a pipeline config'),
  medium,
  items: z.int().min(0).describe('items that it took, or gave if it is a source'),
  bytesIn: bytes.describe('bytes of the items that it took'),
  bytesOut: bytes.describe('bytes of the items that it gave'),
  working: seconds.describe('seconds in which it worked, which includes waiting for its disk, network or threads'),
  waitingForInput: seconds.describe('seconds in which it waited for an item'),
  waitingForNext: seconds.describe(
    'seconds in which it waited for the stages behind it: for room, memory or the processor',
  ),
  held: bytes.describe('bytes of memory that it holds now'),
  mostHeld: bytes.describe('the most bytes of memory that it ever held'),
})

const bottleneck = z.looseObject({
  stage: z.string(),
  medium,
  kind: z.enum(['source', 'processor', 'target', 'limit']),
  share: z.number().min(0).max(1).describe('its part of the time'),
})

/** Of the pipeline that ran last, if the operation runs several. */
const stages = {
  stages: z.array(stage).describe('what each stage did with its time; empty before the first items flow'),
  bottleneck: bottleneck.nullable().describe('the stage that worked the largest part of the time'),
}

const waiting = z
  .looseObject({ count: z.int(), p50: z.number(), p99: z.number(), max: z.number() })
  .describe('requests of the guest that waited for the backup, in milliseconds')

const guest = z.looseObject({
  since: z.number().describe('the point in time, in seconds since the epoch'),
  clusters: z.looseObject({ total: z.int(), scanned: z.int(), copied: z.int() }),
  waiting,
  buffer: z.looseObject({ used: bytes, size: bytes, highest: bytes, full: z.number().nullable() }),
})

const where = z.looseObject({
  file: z.string().optional(),
  drive: z.string().optional(),
  cluster: z.int().optional(),
  offset: z.number().optional().describe('byte'),
})

const codes = Object.keys(EXIT_CODES) as [string, ...string[]]

/** Objects are loose: fields may be added within a version. */
export const record = z.discriminatedUnion('type', [
  z
    .looseObject({ ...ofOperation, type: z.literal('progress'), ...figures, ...stages })
    .describe('how far the run is, twice a second'),
  z
    .looseObject({ ...ofOperation, type: z.literal('guest'), guest })
    .describe('how the guest of a live backup is doing'),
  z
    .looseObject({
      ...ofOperation,
      type: z.literal('note'),
      level: z.enum(['info', 'warning']),
      text: z.string(),
      backup: z
        .looseObject({
          guest: z.string().nullable().describe('the guest, or null for drives at rest'),
          drives: z.array(z.looseObject({ name: z.string(), size: bytes, from: z.string().nullable() })),
          to: z.string().nullable().describe('where the archive goes; null for a stream'),
          compression: z.string(),
          uuid: z.string(),
        })
        .optional()
        .describe('what is backed up, in the first note of a backup'),
      pointInTime: z.number().optional().describe('of a live backup, in seconds since the epoch'),
      since: z
        .looseObject({ place: z.string(), uuid: z.string(), ctime: z.number() })
        .nullable()
        .optional()
        .describe('of a backup with --since: the parent, or null if the archive becomes a full one'),
      full: z
        .string()
        .nullable()
        .optional()
        .describe('of a backup with --since: why the archive is a full one, or null'),
      whole: z.string().optional().describe('of an incremental backup: why all of this drive is compared'),
      drive: z.string().optional().describe('the drive that this is about'),
      to: z.string().optional().describe('the name that the archive gets, if it is not the one that was asked for'),
    })
    .describe('something to read'),
  z
    .looseObject({ ...ofOperation, type: z.literal('end'), ...figures, ...stages })
    .describe('the run has succeeded; rates are of the whole run'),
  z
    .looseObject({
      ...common,
      type: z.literal('error'),
      code: z.enum(codes),
      exitCode: z.int(),
      message: z.string(),
      stage: z.string().optional(),
      where,
      hint: z.string().optional().describe('what to do'),
      report: z.looseObject({}).optional().describe('of a damaged archive, as `vmapipe verify --json` has it'),
      notes: z.array(z.string()).optional().describe('what became of the drives of a damaged archive'),
    })
    .describe('the run has failed'),
])

export function recordSchema(): object {
  return { title: 'A line of vmapipe --progress json', ...z.toJSONSchema(record) }
}
