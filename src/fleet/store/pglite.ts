/**
 * PGlite: PostgreSQL in this process, for one machine and for trying it out. Its first start makes a database, which takes 8 to 16 seconds on
 * a busy machine. It has one connection, so transactions come one after the other.
 */

import { AsyncLocalStorage } from 'node:async_hooks'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { PGlite, Transaction } from '@electric-sql/pglite'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { awayError } from './away.ts'
import type { Database, DatabaseOptions, Lock, Session, TransactionBody } from './database.ts'
import { lockFolder } from './folder-lock.ts'
import { optionalPackage } from './optional.ts'

/** The data within the planner's folder, beside the lock. */
const DATA = 'pglite'

export async function openPglite({ folder, inform, warn }: DatabaseOptions): Promise<Database> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const unlock = await lockFolder(folder, warn)
  try {
    const module = await optionalPackage('@electric-sql/pglite', () => import('@electric-sql/pglite'))
    const data = join(folder, DATA)
    const isNew = !existsSync(join(data, 'PG_VERSION'))
    inform(
      isNew
        ? `making a database in '${data}'; this takes up to 20 seconds the first time`
        : `opening the database in '${data}'`,
    )
    const lite = await module.PGlite.create(data).catch((cause) => {
      const text = asVmapipeError(cause).message
      throw new VmapipeError('FAILED', `the database in '${data}' cannot be opened: ${text}`, { cause })
    })
    return new Embedded(data, lite, unlock)
  } catch (error) {
    await unlock()
    throw error
  }
}

class Embedded implements Database {
  readonly kind = 'pglite'
  readonly name: string
  readonly isAway = false
  readonly #lite: PGlite
  readonly #unlock: () => Promise<void>
  /** The transaction of the caller. pg-boss may ask for something of its own in the middle, and there is one connection. */
  readonly #inside = new AsyncLocalStorage<Session>()

  constructor(name: string, lite: PGlite, unlock: () => Promise<void>) {
    this.name = name
    this.#lite = lite
    this.#unlock = unlock
  }

  async query<R>(text: string, values: readonly unknown[] = []): Promise<R[]> {
    return (await this.#open().query<R>(text, [...values])).rows
  }

  async executeSql(text: string, values?: unknown[]): Promise<{ rows: any[] }> {
    const inside = this.#inside.getStore()
    if (inside !== undefined) return await inside.executeSql(text, values)
    const lite = this.#open()
    try {
      return await run(lite, text, values)
    } catch (error) {
      // Of several statements the first may have begun a transaction; there is no other connection that could go on without it.
      await lite.query('rollback').catch(() => {})
      throw error
    }
  }

  async transaction<T>(body: TransactionBody<T>, first?: string): Promise<T> {
    return await this.#open().transaction(async (transaction) => {
      const session: Session = {
        query: async <R>(text: string, values: readonly unknown[] = []) =>
          (await transaction.query<R>(text, [...values])).rows,
        executeSql: (text, values) => run(transaction, text, values),
      }
      const rows = first === undefined ? [] : await session.query(first)
      return await this.#inside.run(session, () => body(session, rows))
    })
  }

  /** It never goes away. */
  onReturn(): () => void {
    return () => {}
  }

  /** The lock of the folder keeps others out. */
  async lock(): Promise<Lock> {
    return { release: async () => {} }
  }

  async close(): Promise<void> {
    if (!this.#lite.closed) await this.#lite.close()
    await this.#unlock()
  }

  #open(): PGlite {
    if (this.#lite.closed) throw awayError()
    return this.#lite
  }
}

async function run(
  lite: Pick<PGlite | Transaction, 'query' | 'exec'>,
  text: string,
  values: unknown[] | undefined,
): Promise<{ rows: any[] }> {
  if (values !== undefined && values.length > 0) return await lite.query(text, values)
  const results = await lite.exec(text)
  return { rows: results.flatMap(({ rows }) => rows ?? []) }
}
