/** Entries of a catalog that need no archive. */

import type { CatalogEntry } from '../../src/catalog/entry.ts'

/** Seconds since 1970 of a time such as `2026-11-28T21:35:00Z`. */
export const at = (text: string) => Date.parse(text) / 1000

/** An archive of the guest `web` that is good. `name` also makes its uuid, by which others name it as their parent. */
export function entry(name: string, ctime: number, rest: Partial<CatalogEntry> = {}): CatalogEntry {
  const { parent = null, folder = '/srv/web/' } = rest as Partial<CatalogEntry> & { folder?: string }
  return {
    place: `${folder}${name}`,
    name,
    guest: 'web',
    uuid: `uuid of ${name}`,
    ctime,
    kind: parent === null ? 'full' : 'incremental',
    size: 100,
    written: new Date(Math.max(0, ctime) * 1000).toISOString(),
    encrypted: false,
    protected: false,
    notes: null,
    checks: [],
    ...rest,
    parent: parent && `uuid of ${parent}`,
  }
}
