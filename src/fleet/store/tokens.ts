/**
 * Tokens of agents and people. A token is an id and a secret of 256 random bits. Only the SHA-256 of the secret is kept: it is too long to be
 * guessed, so nothing slower is needed.
 */

import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { TokenRow } from '../fleet.ts'
import type { Session } from './database.ts'
import { fromText, toText } from './text.ts'

const ID_BYTES = 6
const SECRET_BYTES = 32
/** Those who look for lost secrets in files know it by this. */
const PREFIX = 'vmapipe'

interface StoredToken {
  id: string
  name: string
  kind: TokenRow['kind']
  guests: string[]
  hash: Uint8Array
  created: Date
  used: Date | null
  revoked: Date | null
}

const COLUMNS = 'id, name, kind, guests, hash, created, used, revoked'

/** Returns its id, and its text, which is not kept. */
export async function makeToken(
  session: Session,
  { name, kind, guests = [] }: { name: string; kind: TokenRow['kind']; guests?: readonly string[] },
  now: Date,
): Promise<{ id: string; text: string }> {
  // In hex, as a word that begins with a dash would be an option of a command.
  const id = randomBytes(ID_BYTES).toString('hex')
  const secret = randomBytes(SECRET_BYTES).toString('base64url')
  await session.query(
    'insert into vmapipe.tokens (id, name, kind, guests, hash, created) values ($1, $2, $3, $4, $5, $6)',
    [id, name, kind, guests.map(toText), hashOf(secret), now.toISOString()],
  )
  return { id, text: `${PREFIX}.${id}.${secret}` }
}

/** Compares the hash with that of the secret in constant time, and with nothing at all if there is no such token. */
export function isToken(token: { hash: Uint8Array } | undefined, secret: string): boolean {
  const same = timingSafeEqual(hashOf(secret), token === undefined ? NOTHING : token.hash)
  return token !== undefined && same
}

const NOTHING = Buffer.alloc(32)

/** The id and the secret of a token's text; both empty if it is none. */
export function partsOf(text: string): { id: string; secret: string } {
  const [, id = '', secret = ''] = /^vmapipe\.([A-Za-z0-9_-]{1,40})\.([A-Za-z0-9_-]{1,100})$/.exec(text.trim()) ?? []
  return { id, secret }
}

export type KnownToken = TokenRow & { hash: Uint8Array }

export async function readTokens(session: Session): Promise<KnownToken[]> {
  const rows = await session.query<StoredToken>(`select ${COLUMNS} from vmapipe.tokens order by created, id`)
  return rows.map(({ created, used, revoked, guests, ...row }) => ({
    ...row,
    guests: guests.map(fromText),
    created: created.toISOString(),
    used: used?.toISOString() ?? null,
    revoked: revoked?.toISOString() ?? null,
  }))
}

export async function revokeToken(session: Session, id: string, now: Date): Promise<boolean> {
  const rows = await session.query(
    'update vmapipe.tokens set revoked = coalesce(revoked, $2) where id = $1 returning id',
    [id, now.toISOString()],
  )
  return rows.length > 0
}

export async function writeUsed(session: Session, used: readonly { id: string; used: string }[]): Promise<void> {
  await session.query(
    `update vmapipe.tokens t set used = u.used
     from (select unnest($1::text[]) as id, unnest($2::timestamptz[]) as used) u where t.id = u.id`,
    [used.map(({ id }) => id), used.map(({ used }) => used)],
  )
}

function hashOf(secret: string): Buffer {
  return hash('sha256', secret, 'buffer')
}
