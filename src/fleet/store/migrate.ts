/** Brings our tables to the newest version that this program knows: forward only, each version in a transaction of its own. */

import { VmapipeError } from '../../core/errors.ts'
import type { Database } from './database.ts'
import { NEWEST, type SchemaVersion, VERSIONS } from './versions.ts'

/** Called by the planner that has the lock. Throws CONFIG if the tables are newer than this program can use. */
export async function migrate(
  database: Database,
  inform: (line: string) => void,
  versions: readonly SchemaVersion[] = VERSIONS,
): Promise<void> {
  await database.executeSql(`
create schema if not exists vmapipe;
create table if not exists vmapipe.versions (version integer primary key, oldest integer not null, applied timestamptz not null default now())`)
  const [there] = await database.query<{ version: number; oldest: number }>(
    'select version, oldest from vmapipe.versions order by version desc limit 1',
  )
  const newest = versions[versions.length - 1].version
  if (there !== undefined && there.version > newest && there.oldest > newest)
    throw new VmapipeError(
      'CONFIG',
      `the tables of the database have version ${there.version}, and this vmapipe knows ${newest}`,
      { hint: 'start the newer vmapipe that made them; a database cannot go back' },
    )
  for (const { version, oldest, sql } of versions) {
    if (there !== undefined && version <= there.version) continue
    await database.transaction(async (session) => {
      await session.executeSql(sql)
      await session.query('insert into vmapipe.versions (version, oldest) values ($1, $2)', [version, oldest])
    })
    if (there !== undefined) inform(`the tables of the database now have version ${version} of ${NEWEST}`)
  }
}
