/** Guests: the host that each of them is on or was last seen on, and when its last good backup was made. */

import type { Session } from './database.ts'
import { fromText, fromTextOrNull, toText, toTextOrNull } from './text.ts'

export interface StoredGuest {
  guest: string
  host: string
  identity: string | null
  lastGood: Date | null
}

export async function readGuests(session: Session): Promise<StoredGuest[]> {
  const rows = await session.query<StoredGuest>(
    'select guest, host, identity, last_good as "lastGood" from vmapipe.guests',
  )
  return rows.map((row) => ({ ...row, guest: fromText(row.guest), identity: fromTextOrNull(row.identity) }))
}

/** Writes those that have changed, in one statement. */
export async function writeGuests(session: Session, guests: readonly StoredGuest[]): Promise<void> {
  if (guests.length === 0) return
  await session.query(
    `insert into vmapipe.guests (guest, host, identity, last_good, claimed)
     select guest, host, identity, last_good, now() from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
       as changed (guest, host, identity, last_good)
     on conflict (guest) do update set host = excluded.host, identity = excluded.identity,
       last_good = excluded.last_good, claimed = excluded.claimed`,
    [
      guests.map(({ guest }) => toText(guest)),
      guests.map(({ host }) => host),
      guests.map(({ identity }) => toTextOrNull(identity)),
      guests.map(({ lastGood }) => lastGood?.toISOString() ?? null),
    ],
  )
}

/** Forgets guests that no host has any more. */
export async function removeGuests(session: Session, guests: readonly string[]): Promise<void> {
  if (guests.length === 0) return
  await session.query('delete from vmapipe.guests where guest = any($1::text[])', [guests.map(toText)])
}
