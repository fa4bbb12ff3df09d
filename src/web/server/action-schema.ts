/** What may be asked for, checked before a house sees it. */

import { z } from 'zod'
import { ROLES } from '../accounts/accounts.ts'
import type { AccountAdd, AccountChange, LinkSignIn, OwnPassword, SignIn } from '../api.ts'
import type { Action, RestoreForm } from '../house.ts'

const NAME = z.string().min(1).max(500)
const PATH = z.string().min(1).max(4096)
const PASSWORD = z.string().min(1).max(2000)

export const RESTORE_FORM = z.strictObject({
  host: NAME,
  archive: PATH,
  drives: z.record(NAME, PATH).refine((drives) => Object.keys(drives).length <= 256, 'too many drives'),
  domain: z.strictObject({ name: NAME, folder: PATH }).optional(),
  qemu: z.strictObject({ folder: PATH }).optional(),
}) satisfies z.ZodType<RestoreForm>

export const ACTION = z.discriminatedUnion('do', [
  z.strictObject({
    do: z.literal('start'),
    ...{ host: NAME, job: NAME },
    guests: z.array(NAME).min(1).max(10_000).optional(),
    full: z.boolean().optional(),
  }),
  z.strictObject({ do: z.literal('cancel'), id: NAME }),
  z.strictObject({ do: z.enum(['verify', 'boot']), host: NAME, archive: PATH }),
  z.strictObject({ do: z.literal('protect'), host: NAME, archive: PATH, on: z.boolean() }),
  z.strictObject({
    do: z.literal('note'),
    ...{ host: NAME, archive: PATH },
    text: z.string().max(10_000),
    was: z.string().max(100_000).optional(),
  }),
  z.strictObject({ do: z.literal('prune'), host: NAME, job: NAME, guest: NAME.optional(), token: PATH }),
  z.strictObject({ do: z.literal('restore'), form: RESTORE_FORM }),
  z.strictObject({ do: z.literal('drain'), host: NAME, on: z.boolean() }),
  z.strictObject({ do: z.literal('rescan') }),
]) satisfies z.ZodType<Action>

export const SIGN_IN = z.strictObject({
  name: z.string().min(1).max(200),
  password: PASSWORD,
}) satisfies z.ZodType<SignIn>
export const LINK_SIGN_IN = z.strictObject({ token: z.string().min(1).max(200) }) satisfies z.ZodType<LinkSignIn>
export const OWN_PASSWORD = z.strictObject({ old: PASSWORD, new: PASSWORD }) satisfies z.ZodType<OwnPassword>
export const ACCOUNT_ADD = z.strictObject({
  name: NAME,
  password: PASSWORD,
  role: z.enum(ROLES),
}) satisfies z.ZodType<AccountAdd>
export const ACCOUNT_CHANGE = z.strictObject({
  name: NAME,
  role: z.enum(ROLES).optional(),
  password: PASSWORD.optional(),
}) satisfies z.ZodType<AccountChange>
export const ACCOUNT_NAME = z.strictObject({ name: NAME })
export const LINK_MAKE = z.strictObject({ role: z.enum(ROLES) })
export const SESSION_ID = z.strictObject({ id: z.string().min(1).max(100) })
export const NOTHING = z.strictObject({})

/** The parameters of a view. */
const TIME = z.iso.datetime()
export const QUERIES = {
  archives: z.strictObject({ host: NAME.optional(), guest: NAME.optional() }),
  guest: z.strictObject({ host: NAME, guest: NAME }),
  archive: z.strictObject({ host: NAME, archive: PATH }),
  runs: z.strictObject({
    ...{ host: NAME.optional(), job: NAME.optional(), since: TIME, until: TIME.optional() },
    most: z.coerce.number().int().min(1).max(10_000).default(100),
  }),
  runDays: z.strictObject({ host: NAME.optional(), job: NAME.optional(), since: TIME, zone: z.string().max(100) }),
  report: z.strictObject({ host: NAME, job: NAME, run: NAME }),
  files: z.strictObject({ host: NAME, archive: PATH, path: z.string().max(8192).default('') }),
  download: z
    .strictObject({ host: NAME, archive: PATH, drive: NAME.optional(), file: z.string().min(1).max(8192).optional() })
    .refine(({ drive, file }) => (drive === undefined) !== (file === undefined), 'name a drive, or a file'),
  prunePlan: z.strictObject({ host: NAME, job: NAME, guest: NAME.optional() }),
  audit: z.strictObject({ before: TIME.optional(), most: z.coerce.number().int().min(1).max(500).default(100) }),
  none: z.strictObject({}),
}

/** What was done to what, for the audit log; no secrets. */
export function describeAction(action: Action): string {
  switch (action.do) {
    case 'start':
      return `job ${action.job} on ${action.host}${action.full ? ', full' : ''}${action.guests ? `, guests ${action.guests.slice(0, 20).join(', ')}` : ''}`
    case 'cancel':
      return action.id
    case 'verify':
    case 'boot':
      return `archive ${action.archive} on ${action.host}`
    case 'protect':
      return `archive ${action.archive} on ${action.host}: ${action.on ? 'on' : 'off'}`
    case 'note':
      return `archive ${action.archive} on ${action.host}: ${action.text.slice(0, 200)}`
    case 'prune':
      return `job ${action.job} on ${action.host}${action.guest ? `, guest ${action.guest}` : ''}, plan ${action.token}`
    case 'restore':
      return describeRestore(action.form)
    case 'drain':
      return `${action.host}: ${action.on ? 'on' : 'off'}`
    case 'rescan':
      return ''
  }
}

function describeRestore({ host, archive, drives, domain, qemu }: RestoreForm): string {
  const images = Object.entries(drives).map(([drive, image]) => `${drive} to ${image}`)
  const target = domain
    ? `guest ${domain.name} in ${domain.folder}`
    : qemu
      ? `folder ${qemu.folder}`
      : images.join(', ')
  return `archive ${archive} on ${host}: ${target}`
}
