/**
 * PostgreSQL by a pool of connections. If it goes away, calls fail at once, and one probe asks again and again, at longer and longer
 * intervals, until it is back: a hundred agents that ask do not make a hundred attempts to connect.
 */

import { AsyncLocalStorage } from 'node:async_hooks'
import { access, constants } from 'node:fs/promises'
import type { Client, ClientConfig, Pool, PoolClient } from 'pg'
import { asVmapipeError, describe, VmapipeError } from '../../core/errors.ts'
import { sleepUntilAborted } from '../../core/long-sleep.ts'
import { awayError, isAwayError } from './away.ts'
import type { Database, DatabaseOptions, Lock, Session, TransactionBody } from './database.ts'
import { optionalPackage } from './optional.ts'

const CONNECTIONS = 8
const CONNECT_MS = 10_000
/** Between probes of a database that is away: it doubles from the first to the last. */
const FIRST_PROBE_MS = 250
const LAST_PROBE_MS = 5_000
/** The two halves of the advisory lock's key: "vmap" and "ipe" as numbers. */
const LOCK_KEY = [0x766d6170, 0x00697065] as const

type Pg = Pick<typeof import('pg'), 'Client' | 'Pool'>

export async function openPostgres(options: DatabaseOptions & { database: string }): Promise<Database> {
  await findFiles(options.database)
  const module = await optionalPackage('pg', () => import('pg'))
  const database = new Postgres(module.default ?? module, options)
  try {
    await database.connected(options.signal)
    return database
  } catch (error) {
    await database.close()
    throw error
  }
}

class Postgres implements Database {
  readonly kind = 'postgres'
  readonly name: string
  readonly #pg: Pg
  readonly #config: ClientConfig
  readonly #pool: Pool
  readonly #options: DatabaseOptions
  readonly #returns = new Set<() => void>()
  readonly #closed = new AbortController()
  /** The transaction of the caller. pg-boss may ask for something of its own in the middle; all connections may be in such transactions. */
  readonly #inside = new AsyncLocalStorage<Session>()
  #probe: Promise<void> | null = null

  constructor(pg: Pg, options: DatabaseOptions & { database: string }) {
    this.#pg = pg
    this.#options = options
    this.name = withoutSecrets(options.database)
    this.#config = {
      connectionString: options.database,
      application_name: 'vmapipe planner',
      connectionTimeoutMillis: CONNECT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
    }
    this.#pool = new pg.Pool({ ...this.#config, max: CONNECTIONS })
    // A connection that nobody uses has ended. Unheard, the event would end this process.
    this.#pool.on('error', (error) => this.#lost(error))
  }

  get isAway(): boolean {
    return this.#probe !== null
  }

  /** Waits until it is there. What no waiting helps for, such as a wrong password, rejects. */
  async connected(signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#pool.query('select 1')
    } catch (error) {
      if (!isAwayError(error)) throw this.#refusal(error)
      this.#lost(error)
      const gaveUp =
        signal && new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(awayError(error))))
      await (gaveUp ? Promise.race([this.#probe, gaveUp]) : this.#probe)
    }
  }

  async query<R>(text: string, values: readonly unknown[] = []): Promise<R[]> {
    return (await this.#asked(() => this.#pool.query(text, [...values]))).rows as R[]
  }

  async executeSql(text: string, values?: unknown[]): Promise<{ rows: any[] }> {
    const inside = this.#inside.getStore()
    if (inside !== undefined) return await inside.executeSql(text, values)
    return await this.#asked(async () => allRows(await this.#pool.query(text, values)))
  }

  async transaction<T>(body: TransactionBody<T>, first?: string): Promise<T> {
    return await this.#asked(async () => {
      const client = await this.#pool.connect()
      // Without a listener the end of the connection would end this process; the statement rejects anyway.
      const heard = () => {}
      client.on('error', heard)
      let broken: Error | undefined
      try {
        const { rows } = allRows(await client.query(first === undefined ? 'begin' : `begin; ${first}`))
        const session = sessionOf(client)
        const result = await this.#inside.run(session, () => body(session, rows))
        await client.query('commit')
        return result
      } catch (error) {
        if (isAwayError(error)) broken = error as Error
        else await client.query('rollback').catch((failed) => (broken = failed))
        throw error
      } finally {
        client.off('error', heard)
        client.release(broken)
      }
    })
  }

  onReturn(back: () => void): () => void {
    this.#returns.add(back)
    return () => this.#returns.delete(back)
  }

  async lock({ waits, lost, signal }: Parameters<Database['lock']>[0]): Promise<Lock> {
    const client = new this.#pg.Client(this.#config)
    let told = false
    const ended = Promise.withResolvers<never>()
    ended.promise.catch(() => {})
    const end = (error?: Error) => {
      ended.reject(awayError(error))
      if (told) lost()
      told = false
    }
    client.on('error', end)
    client.on('end', () => end())
    const giveUp = () => end(new Error('given up'))
    signal.addEventListener('abort', giveUp)
    try {
      signal.throwIfAborted()
      await client.connect()
      const [first] = (await client.query('select pg_try_advisory_lock($1, $2) as got', [...LOCK_KEY])).rows
      if (!first.got) {
        waits()
        await Promise.race([client.query('select pg_advisory_lock($1, $2)', [...LOCK_KEY]), ended.promise])
      }
      told = true
      return {
        release: async () => {
          told = false
          await closed(client)
        },
      }
    } catch (error) {
      void closed(client)
      if (isAwayError(error) || error instanceof VmapipeError) throw awayError(error)
      throw error
    } finally {
      signal.removeEventListener('abort', giveUp)
    }
  }

  async close(): Promise<void> {
    this.#closed.abort()
    this.#returns.clear()
    await this.#probe?.catch(() => {})
    await this.#pool.end()
  }

  async #asked<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#probe !== null) throw awayError()
    try {
      return await ask()
    } catch (error) {
      if (!isAwayError(error)) throw error
      this.#lost(error)
      throw awayError(error)
    }
  }

  #lost(error: unknown): void {
    if (this.#probe !== null || this.#closed.signal.aborted || !isAwayError(error)) return
    this.#options.warn(
      `the database ${this.name} is away (${asVmapipeError(error).message}); trying again until it is back`,
    )
    this.#probe = this.#probing().then(
      () => {
        this.#probe = null
        this.#options.inform(`the database ${this.name} is there`)
        for (const back of [...this.#returns]) back()
      },
      () => {},
    )
  }

  async #probing(): Promise<void> {
    for (let pause = FIRST_PROBE_MS; ; pause = Math.min(LAST_PROBE_MS, pause * 2)) {
      await sleepUntilAborted(pause, this.#closed.signal)
      try {
        await this.#pool.query('select 1')
        return
      } catch {
        // It is away still, or refuses us for now: a server that is being restored has no such database yet.
      }
    }
  }

  #refusal(error: unknown): VmapipeError {
    const { message } = error as Error
    return new VmapipeError('CONFIG', `the database ${this.name} refuses the planner: ${message}`, { cause: error })
  }
}

function sessionOf(client: PoolClient): Session {
  return {
    query: async <R>(text: string, values: readonly unknown[] = []) =>
      (await client.query(text, [...values])).rows as R[],
    executeSql: async (text, values) => allRows(await client.query(text, values)),
  }
}

/** A query of several statements has a result for each of them. */
function allRows(result: { rows: any[] } | { rows: any[] }[]): { rows: any[] } {
  return Array.isArray(result) ? { rows: result.flatMap(({ rows }) => rows ?? []) } : result
}

/** Ends a connection also if its server does not answer any more. */
async function closed(client: Client): Promise<void> {
  await Promise.race([client.end().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 1000).unref())])
}

/** A file of TLS that is not there would look like a database that is away, and no waiting helps for that. Throws CONFIG. */
async function findFiles(text: string): Promise<void> {
  const values = URL.parse(text)?.searchParams
  for (const name of ['sslrootcert', 'sslcert', 'sslkey']) {
    const file = values?.get(name)
    if (!file) continue
    await access(file, constants.R_OK).catch((error) => {
      throw new VmapipeError('CONFIG', `${name} of the database: ${describe(error)}`, { file, cause: error })
    })
  }
}

function withoutSecrets(text: string): string {
  try {
    const url = new URL(text)
    url.password = ''
    for (const name of [...url.searchParams.keys()]) if (/pass|key/i.test(name)) url.searchParams.delete(name)
    return url.href
  } catch {
    return 'postgres://…'
  }
}
