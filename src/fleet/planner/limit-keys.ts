/** What a work's places are limited by, as keys: two works with a key in common count together. */

import type { InUse, PlannedHost, PlannedWork, WorkPlace } from './types.ts'

/** A name of a storage, a host or a path has no such character. */
const SEPARATOR = '\0'

/** s3://, ssh:// and such: the same from every host. */
const EVERYWHERE = /^[a-z][a-z0-9+.-]*:\/\//i

export function isEverywhere(place: string): boolean {
  return EVERYWHERE.test(place)
}

function hostKey(host: string): string {
  return `host${SEPARATOR}${host}`
}

function storageKey(storage: string): string {
  return `storage${SEPARATOR}${storage}`
}

/** A path is another place on each host, unless a storage is named: then it is that storage's. */
function placeKey(host: string, { place, storage }: WorkPlace): string {
  const where = isEverywhere(place) ? '' : storage === null ? `host ${host}` : `storage ${storage}`
  return ['place', where, place].join(SEPARATOR)
}

/** All keys that what is in use counts for, each once: two places on one storage are one guest that is written to it. */
export function usedKeys({ host, places }: Pick<InUse, 'host' | 'places'>): string[] {
  const keys = new Set([hostKey(host)])
  for (const place of places) {
    keys.add(placeKey(host, place))
    if (place.storage !== null) keys.add(storageKey(place.storage))
  }
  return [...keys]
}

/** Those that other hosts count for too. */
export function sharedKeys(places: readonly WorkPlace[]): string[] {
  const keys = new Set<string>()
  for (const place of places) {
    if (place.storage !== null) keys.add(storageKey(place.storage))
    // Its own paths are nobody else's.
    if (place.storage !== null || isEverywhere(place.place)) keys.add(placeKey('', place))
  }
  return [...keys]
}

export function isSameUse(a: InUse, b: InUse): boolean {
  if (a.host !== b.host || a.guest !== b.guest || a.places.length !== b.places.length) return false
  return a.places.every(({ place, storage }, at) => place === b.places[at].place && storage === b.places[at].storage)
}

export interface NeededLimit {
  key: string
  most: number
  /** For people. */
  what: string
}

/** The limits that a work needs room in, each once; of two for one key the lower one. */
export function neededLimits(
  { host, places }: PlannedWork,
  known: PlannedHost | null,
  storages: ReadonlyMap<string, number>,
): NeededLimit[] {
  const needed = new Map<string, NeededLimit>()
  const need = (limit: NeededLimit) => {
    if (limit.most < (needed.get(limit.key)?.most ?? Infinity)) needed.set(limit.key, limit)
  }
  if (known !== null) need({ key: hostKey(host), most: known.parallel, what: `host ${host}` })
  for (const place of places) {
    const most = place.storage === null ? undefined : storages.get(place.storage)
    if (most !== undefined) need({ key: storageKey(place.storage!), most, what: `the storage '${place.storage}'` })
    if (place.parallel !== null)
      need({ key: placeKey(host, place), most: place.parallel, what: `the place '${place.place}'` })
  }
  return [...needed.values()].sort((a, b) => (a.key < b.key ? -1 : 1))
}

export function isSameHost(a: PlannedHost, b: PlannedHost): boolean {
  return a.zone === b.zone && a.parallel === b.parallel && a.isUp === b.isUp && a.isDrained === b.isDrained
}
