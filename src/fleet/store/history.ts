/** Sums over the works that have ended, made by the database: a year of a large fleet is millions of them. */

import type { RunSummary, WorkRow } from '../fleet.ts'
import type { Session } from './database.ts'
import { fromText } from './text.ts'

/** When it ended in milliseconds since 1970, what became of it, and the bytes and seconds that its host told. */
export type EndedRow = [ended: number, state: WorkRow['state'], stored: unknown, seconds: unknown]

const ENDED = `kind = 'run' and job is not null and guest is not null and ended is not null and due >= $1
  and state in ('done', 'failed', 'canceled', 'lost') and id <> all ($2::text[])`

interface RunOfDatabase extends Omit<RunSummary, 'due' | 'started' | 'ended'> {
  due: Date
  started: Date
  ended: Date
}

/** One for the backups of a job on a host that were due at one time. `except`: works that are not counted. */
export async function readRuns(session: Session, since: Date, except: readonly string[]): Promise<RunSummary[]> {
  const rows = await session.query<RunOfDatabase>(
    `select host, job, due, min(coalesce(began, due)) as started, max(ended) as ended,
       (count(*) filter (where state = 'done'))::integer as done, (count(*) filter (where state <> 'done'))::integer as failed,
       coalesce(sum(case json_typeof(report -> 'stored')
         when 'number' then least(greatest((report ->> 'stored')::double precision, 0), 1e18) end), 0) as stored
     from vmapipe.works where ${ENDED} group by host, job, due`,
    [since.toISOString(), except],
  )
  return rows.map(({ due, started, ended, ...row }) => ({
    ...row,
    ...{ due: due.toISOString(), started: started.toISOString(), ended: ended.toISOString() },
  }))
}

/** The last backups of each guest, the oldest first. */
export async function readLastBackups(
  session: Session,
  since: Date,
  most: number,
  except: readonly string[],
): Promise<{ guest: string; ended: EndedRow[] }[]> {
  const rows = await session.query<{ guest: string; ended: EndedRow[] }>(
    `select guest, json_agg(json_build_array((extract(epoch from ended) * 1000)::bigint, state, report -> 'stored', report -> 'seconds')
       order by ended, id) as ended
     from (select id, guest, ended, state, report, row_number() over (partition by guest order by ended desc, id desc) as place
       from vmapipe.works where ${ENDED}) numbered
     where place <= $3 group by guest`,
    [since.toISOString(), except, most],
  )
  return rows.map((row) => ({ ...row, guest: fromText(row.guest) }))
}
