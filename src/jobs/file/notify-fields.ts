/** Who is told how a run went. */

import * as z from 'zod'
import { duration, oneOrMore, word } from './values.ts'

/** When somebody is told: after a run in which something failed, after one in which all succeeded, at its start too, or after every run. */
const on = z
  .enum(['failure', 'success', 'change', 'always'])
  .optional()
  .describe(
    'failure: some or all guests failed; change: it went otherwise than the last time; failure by default for mail and webhooks, always for pings',
  )

const url = z
  .string()
  .regex(/^https?:\/\/[^\s]+$/, { message: 'expected a URL that begins with https:// or http://' })
  .max(4096)

const common = {
  on,
  timeout: duration({ min: 1, max: 600, example: '30s' }).optional().describe('how long it may take; 30s by default'),
}

const smtp = z.strictObject({
  host: word,
  port: z.int().min(1).max(65_535).optional().describe('587 by default, 465 with tls: on'),
  tls: z
    .enum(['on', 'starttls', 'off'])
    .optional()
    .describe('on: from the first byte; starttls, which is required then, by default; off: for a relay on this host'),
  user: word.optional(),
  'password-file': word.optional().describe('a file with the password alone, which others cannot read'),
  ca: word.optional().describe('a file with certificates of your own'),
})

export const TEMPLATES = ['json', 'ntfy', 'slack', 'gotify', 'matrix'] as const

const mail = z.strictObject({
  mail: oneOrMore(word).describe('addresses; by sendmail unless `smtp` is given'),
  from: word.optional(),
  smtp: smtp.optional(),
  sendmail: word.optional().describe('path of the program; it is searched for by default'),
  ...common,
})

const webhook = z.strictObject({
  webhook: url.describe('gets the report by POST'),
  template: z.enum(TEMPLATES).optional().describe('the form of the message; json, the whole report, by default'),
  'token-file': word.optional().describe('a file with a token, sent as the receiver of the template expects it'),
  headers: z.record(z.string().regex(/^[A-Za-z0-9-]+$/), z.string().regex(/^[\x20-\x7e]*$/)).optional(),
  ca: word.optional().describe('a file with certificates of your own'),
  ...common,
})

const ping = z.strictObject({
  ping: url.describe('as healthchecks takes it: URL/start, URL, URL/fail'),
  ca: word.optional().describe('a file with certificates of your own'),
  ...common,
})

export const notifySchema = z.union([mail, webhook, ping], { error: 'expected a map with mail, webhook or ping' })

export type Notification = z.infer<typeof notifySchema>
