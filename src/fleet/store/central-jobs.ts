/** Job files that are kept by the planner, as they were written. */

import type { Session } from './database.ts'
import { fromText, toText } from './text.ts'

export interface StoredCentralJob {
  name: string
  text: string
  digest: string
  labels: string[]
}

export async function readCentralJobs(session: Session): Promise<StoredCentralJob[]> {
  const rows = await session.query<StoredCentralJob>(
    'select name, content as text, digest, labels from vmapipe.central_jobs order by name',
  )
  return rows.map((row) => ({ ...row, text: fromText(row.text) }))
}

export async function writeCentralJob(
  session: Session,
  { name, text, digest, labels }: StoredCentralJob,
): Promise<void> {
  await session.query(
    `insert into vmapipe.central_jobs (name, content, digest, labels, changed) values ($1, $2, $3, $4, now())
     on conflict (name) do update set content = excluded.content, digest = excluded.digest, labels = excluded.labels,
       changed = excluded.changed`,
    [name, toText(text), digest, labels],
  )
}

export async function removeCentralJob(session: Session, name: string): Promise<void> {
  await session.query('delete from vmapipe.central_jobs where name = $1', [name])
}
