/** The JSON Schemas of `vmapipe archives --json` and `vmapipe prune --json`. Only `vmapipe schema` and tests load them. */

import * as z from 'zod'

const check = z.object({
  kind: z.enum(['verify', 'sample', 'boot']),
  at: z.string().describe('when it ended, as ISO 8601'),
  passed: z.boolean(),
  detail: z.string().optional(),
  file: z.string().optional().describe('a file beside the archive, such as the picture of a screen'),
  work: z.string().optional().describe('the work of a fleet that asked for it'),
})

const archive = z.object({
  place: z.string().describe('as `vmapipe restore` takes it'),
  name: z.string().describe('the name of its file, or of its first volume'),
  guest: z.string().nullable().describe('null if the archive does not say it'),
  uuid: z.string().nullable().describe('null if the archive cannot be read'),
  time: z.string().nullable().describe('the point in time, as ISO 8601 in UTC'),
  ctime: z.number().nullable().describe('the same in seconds since 1970'),
  kind: z.enum(['full', 'incremental']),
  parent: z.string().nullable().describe('the uuid of the archive that an incremental one needs'),
  depth: z.int().nullable().describe('the number of archives that it needs, down to the full one'),
  size: z.number().describe('bytes at the place, of all volumes'),
  written: z.string().nullable().describe('when it was written there, as ISO 8601'),
  encrypted: z.boolean(),
  protected: z.boolean(),
  notes: z.string().nullable(),
  good: z.boolean().describe('it and all that it needs is there, can be read, and failed no check'),
  verified: z.string().nullable().describe('when it last passed a check'),
  checks: z.array(check).describe('the latest of each kind'),
  unreadable: z.string().nullable().describe('why nothing more is known of it'),
})

const common = { version: z.literal(1), place: z.string() }

const archives = z.object({ ...common, archives: z.array(archive) })

const pruned = z.object({
  ...common,
  dryRun: z.boolean(),
  archives: z.array(
    archive.extend({
      stays: z.boolean(),
      reasons: z.array(z.string()).describe('why it stays, such as "weekly 2", or why it goes'),
    }),
  ),
  removed: z.array(z.string()).describe('the places of the archives that are gone, or would go in a dry run'),
  bytes: z.number().describe('their size'),
  failures: z.array(z.object({ place: z.string(), error: z.string() })).describe('archives that could not be removed'),
})

export const schemas = { archives: archives, prune: pruned }

/** The JSON Schema of what a command prints. */
export function outputSchema(command: keyof typeof schemas): object {
  return z.toJSONSchema(schemas[command], { io: 'output' })
}
