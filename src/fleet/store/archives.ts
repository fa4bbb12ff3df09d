/** Archives as hosts report them: a copy of what is at the places, for looking at. It may be lost; a rescan makes it again. */

import type { AgentArchive, ArchivesEvent } from '../messages/events.ts'
import type { Session } from './database.ts'
import { fromText, toText } from './text.ts'

/** The archives of no known guest. No guest has this name, as a name is never empty. */
const NOBODY = ''

export type StoredArchive = AgentArchive & { host: string; job: string }

/** Replaces what was known of this guest's archives at this place, as this host sees them. */
export async function writeArchives(session: Session, host: string, said: ArchivesEvent): Promise<void> {
  const { job, place, guest, archives, at } = said
  const key = [host, toText(place), guest === null ? NOBODY : toText(guest)]
  if (archives.length === 0)
    await session.query('delete from vmapipe.archives where host = $1 and place = $2 and guest = $3', key)
  else
    await session.query(
      `insert into vmapipe.archives (host, place, guest, job, at, content) values ($1, $2, $3, $4, $5, $6::json)
       on conflict (host, place, guest) do update set job = excluded.job, at = excluded.at, content = excluded.content`,
      [...key, job, at, JSON.stringify(archives)],
    )
}

export async function readArchives(
  session: Session,
  { guest, host }: { guest?: string; host?: string },
): Promise<StoredArchive[]> {
  const rows = await session.query<{ host: string; job: string; content: AgentArchive[] }>(
    `select host, job, content from vmapipe.archives
     where ($1::text is null or guest = $1) and ($2::text is null or host = $2) order by guest, host, place`,
    [guest === undefined ? null : toText(guest), host ?? null],
  )
  return rows.flatMap(({ host, job, content }) => content.map((archive) => ({ ...archive, host, job })))
}

/** How many bytes each list has. They are compressed in the database, so it is a little less. */
export async function readListSizes(
  session: Session,
): Promise<{ host: string; place: string; guest: string | null; bytes: number }[]> {
  const rows = await session.query<{ host: string; place: string; guest: string; bytes: number }>(
    'select host, place, guest, pg_column_size(content) as bytes from vmapipe.archives',
  )
  return rows.map(({ host, place, guest, bytes }) => ({
    ...{ host, bytes, place: fromText(place) },
    guest: guest === NOBODY ? null : fromText(guest),
  }))
}

/** Forgets all of them: hosts tell them anew. */
export async function removeArchives(session: Session): Promise<void> {
  await session.query('delete from vmapipe.archives')
}
