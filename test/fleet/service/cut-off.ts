/** Cuts off the planner that is on duty from its PostgreSQL, so that the one that waits takes over. */

import type { Cluster } from '../../support/postgres.ts'
import { until } from './opened.ts'

const WAITS = `select 1 from pg_locks l join pg_database d on d.oid = l.database
  where d.datname = current_database() and l.locktype = 'advisory' and not l.granted`
/** All connections of the first at once: the one that waits for the lock gets it. */
const CUT = `select pg_terminate_backend(a.pid) from pg_stat_activity a where a.datname = current_database() and a.pid <> pg_backend_pid()
  and not exists (select 1 from pg_locks l where l.pid = a.pid and l.locktype = 'advisory' and not l.granted)`

/** `name`: of the database. Waits until another planner waits for it. */
export async function cutOff(cluster: Cluster, name: string): Promise<void> {
  const ask = (sql: string) => cluster.program('psql', '-d', name, '-tAc', sql)
  await until(async () => (await ask(WAITS)).trim() === '1')
  await ask(CUT)
}
