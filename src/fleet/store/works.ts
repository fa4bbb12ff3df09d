/** Works: those that are open, by which a planner that restarts goes on, and those that have ended, which are the history. */

import type { WorkRow } from '../fleet.ts'
import type { Work } from '../messages/work.ts'
import type { Session } from './database.ts'
import { fromText, fromTextOrNull, toText, toTextOrNull } from './text.ts'

/** `sent`: it has its slots and is in the host's queue; people see it as waiting. */
export type StoredState = WorkRow['state'] | 'sent'

export interface StoredWork {
  id: string
  kind: Work['kind']
  host: string
  job: string | null
  guest: string | null
  due: Date
  state: StoredState
  /** Times that it was given to a host. */
  attempt: number
  notBefore: Date | null
  began: Date | null
  ended: Date | null
  /** The start of the agent that it was given to. */
  incarnation: string | null
  reason: string | null
  /** What the agent is asked besides: `full`, `archive`, `boot`, `work`, `reason`, `archives`; `now` if its window does not count. */
  asked: Record<string, unknown>
  report: Record<string, unknown> | null
}

const COLUMNS = `id, kind, host, job, guest, due, state, attempt, not_before as "notBefore", began, ended, incarnation, reason, asked`

/** Writes works as they are now, all in one statement. */
export async function writeWorks(session: Session, works: readonly StoredWork[]): Promise<void> {
  if (works.length === 0) return
  const times = (of: (work: StoredWork) => Date | null) => works.map((work) => of(work)?.toISOString() ?? null)
  await session.query(
    `insert into vmapipe.works (id, kind, host, job, guest, due, state, attempt, not_before, began, ended, incarnation, reason, asked, report)
     select id, kind, host, job, guest, due, state, attempt, not_before, began, ended, incarnation, reason, asked::json, report::json
     from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::integer[], $9::timestamptz[],
         $10::timestamptz[], $11::timestamptz[], $12::text[], $13::text[], $14::text[], $15::text[])
       as changed (id, kind, host, job, guest, due, state, attempt, not_before, began, ended, incarnation, reason, asked, report)
     on conflict (id) do update set host = excluded.host, state = excluded.state, attempt = excluded.attempt, not_before = excluded.not_before,
       began = excluded.began, ended = excluded.ended, incarnation = excluded.incarnation, reason = excluded.reason, asked = excluded.asked,
       report = excluded.report`,
    [
      works.map(({ id }) => id),
      works.map(({ kind }) => kind),
      works.map(({ host }) => host),
      works.map(({ job }) => job),
      works.map(({ guest }) => toTextOrNull(guest)),
      times(({ due }) => due),
      works.map(({ state }) => state),
      works.map(({ attempt }) => attempt),
      times(({ notBefore }) => notBefore),
      times(({ began }) => began),
      times(({ ended }) => ended),
      works.map(({ incarnation }) => incarnation),
      works.map(({ reason }) => toTextOrNull(reason)),
      works.map(({ asked }) => JSON.stringify(asked)),
      works.map(({ report }) => (report === null ? null : JSON.stringify(report))),
    ],
  )
}

export async function readOpenWorks(session: Session): Promise<StoredWork[]> {
  const rows = await session.query<StoredWork>(
    `select ${COLUMNS}, null as report from vmapipe.works where state in ('waiting', 'sent', 'running') order by due, id`,
  )
  return rows.map(fromRow)
}

export interface WorksFilter {
  host?: string
  job?: string
  guest?: string
  since?: string
  kinds?: Work['kind'][]
  most: number
}

/** The newest first. */
export async function readWorks(
  session: Session,
  { host, job, guest, since, kinds, most }: WorksFilter,
): Promise<StoredWork[]> {
  const rows = await session.query<StoredWork>(
    `select ${COLUMNS}, report from vmapipe.works
     where ($1::text is null or host = $1) and ($2::text is null or job = $2) and ($3::text is null or guest = $3)
       and ($4::timestamptz is null or due >= $4) and ($6::text[] is null or kind = any($6))
     order by due desc, id limit $5`,
    [host ?? null, job ?? null, guest === undefined ? null : toText(guest), since ?? null, most, kinds ?? null],
  )
  return rows.map(fromRow)
}

/** The newest time that was due of each guest of each job, and is done or was given up: works for it are not made again after a restart. */
export async function readNewestDue(
  session: Session,
  since: Date,
): Promise<{ job: string; guest: string; due: Date }[]> {
  const rows = await session.query<{ job: string; guest: string; due: Date }>(
    `select job, guest, max(due) as due from vmapipe.works
     where kind = 'run' and job is not null and guest is not null and due >= $1 and asked ->> 'now' is null group by job, guest`,
    [since.toISOString()],
  )
  return rows.map((row) => ({ ...row, guest: fromText(row.guest) }))
}

/** Guests whose last backup failed, and why. */
export async function readFailures(session: Session, since: Date): Promise<{ guest: string; reason: string | null }[]> {
  const rows = await session.query<{ guest: string; state: string; reason: string | null }>(
    `select distinct on (guest) guest, state, reason from vmapipe.works
     where kind = 'run' and guest is not null and due >= $1 and state in ('done', 'failed', 'lost') order by guest, due desc, ended desc`,
    [since.toISOString()],
  )
  return rows
    .filter(({ state }) => state !== 'done')
    .map(({ guest, reason }) => ({ guest: fromText(guest), reason: fromTextOrNull(reason) }))
}

/** How many backups of each host were first written down so many hours ago, the oldest first. Those that people asked for do not count. */
export async function readLastDay(session: Session): Promise<{ host: string; hoursAgo: number; count: number }[]> {
  return await session.query(
    `select host, floor(extract(epoch from now() - written) / 3600)::integer as "hoursAgo", count(*)::integer as count
     from vmapipe.works where kind = 'run' and written > now() - interval '1 day' and asked ->> 'now' is null
     group by 1, 2 order by 2 desc`,
  )
}

export async function hasWork(session: Session, id: string): Promise<boolean> {
  return (await session.query('select 1 from vmapipe.works where id = $1', [id])).length > 0
}

/** Forgets what ended before. Returns how many. */
export async function removeOldWorks(session: Session, before: Date): Promise<number> {
  const rows = await session.query(
    `delete from vmapipe.works where state not in ('waiting', 'sent', 'running') and coalesce(ended, due) < $1 returning 1`,
    [before.toISOString()],
  )
  return rows.length
}

function fromRow(row: StoredWork): StoredWork {
  return { ...row, guest: fromTextOrNull(row.guest), reason: row.reason === null ? null : fromText(row.reason) }
}
