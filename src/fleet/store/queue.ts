/**
 * The queues of pg-boss, one for each host. A work goes into its host's queue when the planner has given it its slots, and leaves it when the
 * host has told the end. pg-boss keeps it, gives it to one who fetches only, counts the attempts, and puts what failed too often aside. When a
 * work is tried again is decided by the planner, as limits and windows count then: so pg-boss itself holds back what has failed.
 */

import { createHash } from 'node:crypto'
import type { PgBoss } from 'pg-boss'
import { asVmapipeError } from '../../core/errors.ts'
import { MOST_ATTEMPTS } from '../planner/retries.ts'
import { isAwayError } from './away.ts'
import type { Database, Session } from './database.ts'
import { optionalPackage } from './optional.ts'
import { toText } from './text.ts'

/** Works that were given up after all attempts, for two weeks. */
const DEAD = 'dead'
const SCHEMA = 'vmapipe_queue'
/** pg-boss holds back what failed for this long, unless the planner lets it go before. */
const HELD_SECONDS = 7 * 24 * 3600
/** pg-boss takes no more. A longer backup goes on; only pg-boss then counts it as failed, and its end is taken all the same. */
const LONGEST_SECONDS = 24 * 3600 - 1
/** The host's heartbeats are counted by the planner within seconds. This one tells pg-boss that a planner is at it at all. */
const HEARTBEAT_SECONDS = 15 * 60
/** So often the planner tells pg-boss of the works that run. */
export const TOUCH_MS = 4 * 60_000

/** Works of this priority and above are no backups: they need no slot. */
export const URGENT = 10

export interface Queued {
  id: string
  /** Two works of one key are never in the queue at once: that of a guest is its name. */
  key: string
  /** The storage that it writes to, for those who look at the queues. */
  storage: string | null
  priority: number
}

export class WorkQueues {
  readonly #boss: PgBoss
  readonly #made = new Set<string>()

  private constructor(boss: PgBoss) {
    this.#boss = boss
  }

  static async open(database: Database, warn: (line: string) => void): Promise<WorkQueues> {
    const { PgBoss } = await optionalPackage('pg-boss', () => import('pg-boss'))
    const boss = new PgBoss({
      db: { executeSql: (text, values) => database.executeSql(text, values) },
      backend: database.kind,
      schema: SCHEMA,
      schedule: false,
      registerInstance: false,
    })
    // Its upkeep goes on by itself when the database is back, of which the database itself tells.
    boss.on('error', (error) => {
      if (!database.isAway && !isAwayError(error) && asVmapipeError(error).message !== 'the database is away')
        warn(`the queues of works: ${asVmapipeError(error).message}`)
    })
    try {
      await boss.start()
      await boss.createQueue(DEAD)
      return new WorkQueues(boss)
    } catch (error) {
      await boss.stop({ graceful: false, close: false }).catch(() => {})
      throw error
    }
  }

  /** Makes the queue of a host if there is none. */
  async make(host: string): Promise<void> {
    if (this.#made.has(host)) return
    await this.#boss.createQueue(nameOf(host), {
      policy: 'exclusive',
      retryLimit: MOST_ATTEMPTS - 1,
      retryDelay: HELD_SECONDS,
      expireInSeconds: LONGEST_SECONDS,
      heartbeatSeconds: HEARTBEAT_SECONDS,
      deadLetter: DEAD,
    })
    this.#made.add(host)
  }

  async removeHost(host: string): Promise<void> {
    this.#made.delete(host)
    await this.#boss.deleteQueue(nameOf(host))
  }

  /** Lets the host have these works. Those that are in its queue already, because they failed before or were sent, are let go now. */
  async send(session: Session, host: string, works: readonly Queued[]): Promise<void> {
    const name = nameOf(host)
    const db = session
    for (const { id, key, storage, priority } of works) {
      const job = {
        id: uuidOf(id),
        data: { work: id },
        singletonKey: toText(key),
        priority,
        ...(storage === null ? {} : { group: { id: toText(storage) } }),
      }
      // Nearly always it is not there yet.
      if (await this.#inserted(db, name, job)) continue
      const { updated } = await this.#boss.update(name, undefined, { id: job.id, startAfter: 0, db })
      if (updated > 0) continue
      // Something of an earlier planner is in the way, which died between two steps: the planner knows what is open, the queue does not.
      await this.#boss.deleteJob(name, job.id, { db })
      for (const other of await this.#boss.findJobs(name, { key: job.singletonKey, db }))
        if (['created', 'retry', 'active'].includes(other.state)) await this.#boss.deleteJob(name, other.id, { db })
      await this.#inserted(db, name, job)
    }
  }

  /** Takes works out of the host's queue for it. `urgentOnly`: no backups. */
  async fetch(session: Session, host: string, most: number, urgentOnly: boolean): Promise<string[]> {
    const jobs = await this.#boss.fetch<{ work: string }>(nameOf(host), {
      batchSize: most,
      ...(urgentOnly ? { minPriority: URGENT } : {}),
      db: session,
    })
    return jobs.map(({ data }) => data.work)
  }

  /** The work has ended, whatever pg-boss thought of it. */
  async complete(session: Session, host: string, id: string, output: object): Promise<void> {
    await this.#boss.complete(nameOf(host), uuidOf(id), output, { includeQueued: true, db: session })
  }

  /** The host died with it: it is held back until it is sent again, or put aside if that was its last attempt. */
  async lose(session: Session, host: string, id: string, reason: string): Promise<void> {
    await this.#boss.fail(nameOf(host), uuidOf(id), { reason: toText(reason) }, { db: session })
  }

  async remove(session: Session, host: string, id: string): Promise<void> {
    await this.#boss.deleteJob(nameOf(host), uuidOf(id), { db: session })
  }

  async touch(host: string, ids: string[]): Promise<void> {
    if (ids.length > 0) await this.#boss.touch(nameOf(host), ids.map(uuidOf))
  }

  /** Works that were put aside. */
  async dead(): Promise<string[]> {
    const jobs = await this.#boss.findJobs<{ work: string }>(DEAD)
    return jobs.map(({ data }) => data.work)
  }

  async close(): Promise<void> {
    await this.#boss.stop({ graceful: false, close: false }).catch(() => {})
  }

  async #inserted(db: Session, name: string, job: Parameters<PgBoss['insert']>[1][number]): Promise<boolean> {
    return ((await this.#boss.insert(name, [job], { db, returnId: true })) ?? []).length > 0
  }
}

function nameOf(host: string): string {
  return `host/${host}`
}

/** pg-boss takes uuids alone. */
function uuidOf(id: string): string {
  const hash = createHash('sha256').update(id).digest('hex')
  return hash.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/, '$1-$2-$3-$4-$5')
}
