/** Sessions of the page: hashes of their cookies, and what the page says of them. */

import type { KeptSession } from '../fleet.ts'
import type { Session } from './database.ts'

export async function readSessions(session: Session, now: Date): Promise<KeptSession[]> {
  const rows = await session.query<{ hash: string; expires: Date; content: KeptSession['content'] }>(
    'select hash, expires, content from vmapipe.page_sessions where expires > $1 order by expires',
    [now.toISOString()],
  )
  return rows.map(({ expires, ...row }) => ({ ...row, expires: expires.getTime() }))
}

/** Also forgets those that have expired. */
export async function writeSessions(
  session: Session,
  kept: readonly KeptSession[],
  gone: readonly string[],
  now: Date,
): Promise<void> {
  await session.query('delete from vmapipe.page_sessions where hash = any($1::text[]) or expires <= $2', [
    gone,
    now.toISOString(),
  ])
  await session.query(
    `insert into vmapipe.page_sessions (hash, expires, content)
     select * from unnest($1::text[], $2::timestamptz[], $3::json[])
     on conflict (hash) do update set expires = excluded.expires, content = excluded.content`,
    [
      kept.map(({ hash }) => hash),
      kept.map(({ expires }) => new Date(expires).toISOString()),
      kept.map(({ content }) => JSON.stringify(content)),
    ],
  )
}
