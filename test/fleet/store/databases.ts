/** Both databases, for tests that must hold on either: each is started once for a file, as PGlite starts slowly. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe } from 'node:test'
import type { Database } from '../../../src/fleet/store/database.ts'
import { openDatabase } from '../../../src/fleet/store/open.ts'
import { type Cluster, needsPostgres, startPostgres } from '../../support/postgres.ts'

export const silent = { inform: () => {}, warn: () => {} }

/** Runs the tests that `define` declares on PGlite and on PostgreSQL. */
export function onBoth(name: string, define: (database: () => Database) => void): void {
  describe(`${name}, on PGlite`, () => {
    let database: Database
    const folder = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
    before(async () => {
      database = await openDatabase({ folder, ...silent })
    })
    after(async () => {
      await database?.close()
      rmSync(folder, { recursive: true, force: true })
    })
    define(() => database)
  })
  describe(`${name}, on PostgreSQL`, needsPostgres(), () => {
    let cluster: Cluster
    let database: Database
    before(async () => {
      cluster = await startPostgres()
      database = await openDatabase({ database: cluster.url, folder: '/', ...silent })
    })
    after(async () => {
      await database?.close()
      await cluster?.stop()
    })
    define(() => database)
  })
}
