/** Opens the planner's database. What it needs is loaded only then. */

import { VmapipeError } from '../../core/errors.ts'
import type { Database, DatabaseOptions } from './database.ts'

export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  if (options.database === undefined) {
    const { openPglite } = await import('./pglite.ts')
    return await openPglite(options)
  }
  if (!/^postgres(ql)?:\/\//.test(options.database))
    throw new VmapipeError('USAGE', 'the database must be named as postgres://USER@HOST/NAME', {
      hint: 'without a name the planner keeps its own in a folder',
    })
  const { openPostgres } = await import('./postgres.ts')
  return await openPostgres({ ...options, database: options.database })
}
