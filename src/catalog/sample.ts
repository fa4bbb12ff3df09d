/**
 * Verifies some of the archives of a place, those first that were never verified or longest ago. What is found is noted beside each. So a
 * place that is too large to be read every night is read as a whole in the course of many.
 */

import type { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { RunOptions } from '../core/pipeline.ts'
import { verify } from '../operations/verify.ts'
import { recordCheck } from './annotations.ts'
import { readCatalog } from './catalog.ts'
import type { CatalogEntry, Check } from './entry.ts'
import { compare } from './order.ts'

export interface SampleOptions extends RunOptions {
  /** The part of the bytes that is verified, above 0 and at most 1; at least one archive is. */
  share: number
  /** Only archives of this guest. */
  guest?: string | undefined
  keys?: Keyring | undefined
  /** The most bytes a second that are read. */
  bwlimit?: number | undefined
  /** Called with each archive that was verified. */
  onChecked?: ((entry: CatalogEntry, check: Check) => void) | undefined
}

export interface SampleResult {
  /** The archives that were verified, in that order. */
  checked: { entry: CatalogEntry; check: Check }[]
  /** Archives that nothing can be said of without a key, or whose header cannot be read now. */
  skipped: CatalogEntry[]
  /** Bytes of the archives that were verified, and of all that could be. */
  bytes: number
  total: number
}

/**
 * Verifies archives until the share is reached. A damaged one is noted, and the others are verified nevertheless. Errors: USAGE, FAILED if
 * the place does not answer, ABORTED.
 */
export async function verifySample(place: string, options: SampleOptions): Promise<SampleResult> {
  const { share, guest, keys, onChecked, ...running } = options
  if (!(share > 0 && share <= 1)) {
    throw new VmapipeError('USAGE', `${share * 100} % is no part of the archives`, { hint: 'such as 5%' })
  }
  const all = await readCatalog(place, { keys, signal: running.signal, warn: running.warn })
  const asked = all.filter((entry) => guest === undefined || entry.guest === guest)
  const known = asked.filter(({ unreadable, encrypted }) => unreadable === undefined || !encrypted)
  const skipped = asked.filter((entry) => !known.includes(entry))
  const total = known.reduce((sum, { size }) => sum + size, 0)
  const result: SampleResult = { checked: [], skipped, bytes: 0, total }
  for (const entry of inOrderOfNeed(known)) {
    if (result.bytes >= share * total && result.checked.length > 0) break
    const check = await verified(entry.place, { ...running, ...(keys && { keys }) })
    await recordCheck(entry.place, check)
    result.checked.push({ entry, check })
    result.bytes += entry.size
    onChecked?.(entry, check)
  }
  return result
}

/** Those that were never verified first, then those of long ago; in any order among each other. */
function inOrderOfNeed(entries: readonly CatalogEntry[]): CatalogEntry[] {
  const rank = new Map(entries.map((entry) => [entry, { at: lastVerified(entry), chance: Math.random() }]))
  return entries.toSorted((a, b) => {
    const [one, other] = [rank.get(a)!, rank.get(b)!]
    return compare(one.at, other.at) || one.chance - other.chance
  })
}

/** When all data of the archive was last read, as ISO 8601 in UTC; empty if it never was. */
function lastVerified({ checks }: CatalogEntry): string {
  const check = checks.find(({ kind }) => kind === 'verify')
  return check === undefined ? '' : new Date(check.at).toISOString()
}

type VerifyOptions = Parameters<typeof verify>[0]

/** Reads the archive to its end, and makes a check of what is found. Throws if its place does not answer. */
export async function verified(from: string, options: Omit<VerifyOptions, 'from'>): Promise<Check> {
  try {
    return passedCheck((await verify({ ...options, from })).drives)
  } catch (error) {
    const failed = checkOfError(error)
    if (failed === null) throw error
    return failed
  }
}

/** The check of an archive whose drives were whole. */
export function passedCheck(drives: readonly { checked: number }[]): Check {
  const clusters = drives.reduce((sum, { checked }) => sum + checked, 0)
  const detail = `${clusters} clusters of ${drives.length} ${drives.length === 1 ? 'drive' : 'drives'} were checked`
  return { kind: 'verify', at: new Date().toISOString(), passed: true, detail }
}

/** A check of what a verification has ended with; null if that says nothing about the archive. */
export function checkOfError(error: unknown): Check | null {
  const { code, text } = asVmapipeError(error)
  if (code !== 'DAMAGED' && code !== 'INCOMPLETE') return null
  return { kind: 'verify', at: new Date().toISOString(), passed: false, detail: text }
}
