/** Who is told of a run: the part `notify` of a job file. Secrets are never in it, but in files that it names. */

import * as z from 'zod'
import { duration } from '../file/values.ts'

export const ON = ['always', 'failure', 'success', 'change', 'start'] as const

const on = z
  .union([z.enum(ON), z.array(z.enum(ON)).min(1)])
  .describe(
    'when: failure (a guest has no new archive), success, change (it went otherwise than the last time), start, or always; `failure` by default, and `always` for a ping',
  )

/** A path of a file with one secret. */
const secretFile = z.string().min(1).max(4096)

/** A URL of http or https. Some are secrets themselves: those can be in a file. */
const url = z.union([
  z.string().regex(/^https?:\/\/[^\s/]+/, 'expected a URL of http or https'),
  z.strictObject({ file: secretFile.describe('a file whose first line is the URL') }),
])

const ADDRESS = /^[^\p{Cc}\s<>,;:"()[\]\\-][^\p{Cc}\s<>,;:"()[\]\\]{0,253}$/u
const address = z.string().regex(ADDRESS, 'expected an address such as root or admin@example.org')

const ca = z
  .string()
  .min(1)
  .optional()
  .describe('a file with certificates of the authorities that sign the certificate of the server')

const smtp = z.strictObject({
  host: z.string().regex(/^[\w.:-]{1,253}$/, 'expected the name or the address of a host'),
  port: z.int().min(1).max(65535).optional().describe('587 by default with a user, 465 with `tls: on`, else 25'),
  tls: z
    .enum(['auto', 'starttls', 'on', 'off'])
    .optional()
    .describe(
      'auto (encrypted if the server can; a password is only sent encrypted), starttls (must), on (from the first byte), off',
    ),
  user: z.string().min(1).max(320).optional(),
  'password-file': secretFile.optional().describe("a file whose first line is the user's password"),
  ca,
})

const common = {
  on: on.optional(),
  timeout: duration({ min: 0.1, max: 600, example: '30s' })
    .optional()
    .describe('how long each attempt may take; 10s by default, 30s for mail'),
}

const mail = z.strictObject({
  mail: z.union([address, z.array(address).min(1).max(100)]).describe('to whom'),
  from: address.optional().describe('vmapipe@HOST by default'),
  smtp: smtp.optional().describe('a server to send by; by default the program sendmail does it'),
  sendmail: z.string().startsWith('/').optional().describe('/usr/sbin/sendmail by default'),
  ...common,
})

export const TEMPLATES = ['json', 'ntfy', 'slack', 'gotify', 'matrix'] as const

const webhook = z.strictObject({
  webhook: url,
  template: z
    .enum(TEMPLATES)
    .optional()
    .describe('what the receiver understands; json, which has the whole report, by default'),
  'token-file': secretFile
    .optional()
    .describe('a file whose first line is a token: sent as X-Gotify-Key to Gotify, else as Authorization: Bearer'),
  headers: z
    .record(z.string().regex(/^[A-Za-z0-9-]{1,100}$/), z.string().regex(/^[\x20-\x7e]{0,2000}$/))
    .optional()
    .describe('further headers; a secret belongs into token-file'),
  ca,
  room: z
    .string()
    .regex(/^[!#][^\p{Cc}\s]{1,254}$/u, 'expected the id of a room, such as !abc:example.org')
    .optional()
    .describe('the id of a room of Matrix'),
  ...common,
})

const ping = z.strictObject({
  ping: url.describe('asked for at success; with /start at the start, and with /fail at a failure'),
  ca,
  ...common,
})

export const notificationSchema = z.union([mail, webhook, ping], { error: 'expected a map with mail, webhook or ping' })
export const notifySchema = z.array(notificationSchema).max(50).describe('who is told of a run')

export type Notification = z.infer<typeof notificationSchema>
export type Mail = z.infer<typeof mail>
export type Webhook = z.infer<typeof webhook>
export type Ping = z.infer<typeof ping>
/** Whose URL is in the file, or a file that has it. */
export type UrlOrFile = z.infer<typeof url>
