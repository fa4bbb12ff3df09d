/** Hosts that have said hello once, and what each of them has. */

import type { Inventory } from '../messages/inventory.ts'
import type { Session } from './database.ts'

export interface StoredHost {
  host: string
  labels: string[]
  zone: string | null
  parallel: number | null
  version: string | null
  incarnation: string | null
  drained: boolean
  seen: Date | null
}

export async function readHosts(session: Session): Promise<StoredHost[]> {
  return await session.query<StoredHost>(
    'select host, labels, zone, parallel, version, incarnation, drained, seen from vmapipe.hosts',
  )
}

export async function writeHost(session: Session, host: StoredHost): Promise<void> {
  await session.query(
    `insert into vmapipe.hosts (host, labels, zone, parallel, version, incarnation, drained, seen)
     values ($1, $2, $3, $4, $5, $6, $7, $8)
     on conflict (host) do update set labels = excluded.labels, zone = excluded.zone, parallel = excluded.parallel,
       version = excluded.version, incarnation = excluded.incarnation, drained = excluded.drained, seen = excluded.seen`,
    [host.host, host.labels, host.zone, host.parallel, host.version, host.incarnation, host.drained, host.seen],
  )
}

/** When hosts were last heard of: of all hosts in one statement, now and then. */
export async function writeSeen(session: Session, seen: readonly { host: string; seen: Date }[]): Promise<void> {
  await session.query(
    `update vmapipe.hosts h set seen = s.seen
     from (select unnest($1::text[]) as host, unnest($2::timestamptz[]) as seen) s where h.host = s.host`,
    [seen.map(({ host }) => host), seen.map(({ seen }) => seen.toISOString())],
  )
}

/** Its inventory goes with it. */
export async function removeHost(session: Session, host: string): Promise<void> {
  await session.query('delete from vmapipe.hosts where host = $1', [host])
  await session.query('delete from vmapipe.archives where host = $1', [host])
}

export async function readInventories(session: Session): Promise<{ host: string; content: Inventory }[]> {
  return await session.query('select host, content from vmapipe.inventories')
}

export async function writeInventory(session: Session, host: string, content: Inventory): Promise<void> {
  await session.query(
    `insert into vmapipe.inventories (host, at, content) values ($1, $2, $3::json)
     on conflict (host) do update set at = excluded.at, content = excluded.content`,
    [host, content.at, JSON.stringify(content)],
  )
}
