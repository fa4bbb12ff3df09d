/** The structure of the planner's config. */

import * as z from 'zod'
import { duration, word } from '../../jobs/file/values.ts'

const storage = z.strictObject({
  parallel: z.int().min(1).max(1000).describe('guests that are written there at once, from all hosts'),
})

export const fleetSchema = z.strictObject({
  $schema: z.string().optional(),
  listen: word.optional().describe('where agents and people connect, such as 0.0.0.0:8460; 127.0.0.1:8460 by default'),
  'tls-cert': word
    .optional()
    .describe('the certificate of the planner as PEM, with those of its authorities behind it'),
  'tls-key': word.optional().describe('its key as PEM, without a passphrase'),
  database: word
    .optional()
    .describe('postgres://USER@HOST/NAME, without a password; without it the planner keeps a database in a folder'),
  'database-password-file': word.optional().describe('a file whose first line is the password of the database'),
  storages: z
    .record(word, storage)
    .optional()
    .describe('limits of storages, by the names that places of jobs give them (`storage: nas1`)'),
  heartbeat: duration({ min: 0.1, max: 600, example: '5s' })
    .optional()
    .describe(
      'how often hosts tell how they are; a host that is silent for three times that counts as gone; 5s by default',
    ),
  keep: duration({ min: 86_400, max: 3650 * 86_400, example: '400d' })
    .optional()
    .describe('how long works that have ended are kept; 400d by default'),
  jobs: word.optional().describe('a folder of central jobs; then they are those files, and no others'),
})

/** As it was read: times are milliseconds, paths are whole. */
export type FleetConfig = z.infer<typeof fleetSchema>
