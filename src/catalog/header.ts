/** What the header of an archive says, in a form that the index can hold. */

import type { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError } from '../core/errors.ts'
import { uuidText } from '../formats/vma/header.ts'
import { quickManifest } from '../operations/quick-manifest.ts'

export interface Header {
  guest: string | null
  uuid: string
  /** Seconds since 1970. */
  ctime: number
  /** The uuid of the parent; null in a full archive. */
  parent: string | null
}

export interface Unreadable {
  unreadable: string
  /** Whether it may be read another time: there was no key for it, or its place did not answer. */
  mayChange: boolean
  isSealed: boolean
}

interface ReadOptions {
  keys?: Keyring | undefined
  signal: AbortSignal
}

/** Reads the header of the archive at this place. Throws only ABORTED. */
export async function readHeader(from: string, { keys, signal }: ReadOptions): Promise<Header | Unreadable> {
  try {
    const { uuid, ctime, record } = await quickManifest({ from, signal, ...(keys && { keys }) })
    const parent = record?.parent ?? null
    return { guest: record?.guest ?? null, uuid: uuidText(uuid), ctime, parent: parent && uuidText(parent.uuid) }
  } catch (error) {
    signal.throwIfAborted()
    const { code, message } = asVmapipeError(error)
    const isDamage = code === 'DAMAGED' || code === 'INCOMPLETE'
    return { unreadable: message, mayChange: !isDamage, isSealed: code === 'USAGE' }
  }
}

/** Whether a value out of the index is a header. */
export function isHeader(value: unknown): value is Header {
  if (typeof value !== 'object' || value === null) return false
  const { guest, uuid, ctime, parent } = value as Record<string, unknown>
  return (
    (guest === null || typeof guest === 'string') &&
    typeof uuid === 'string' &&
    typeof ctime === 'number' &&
    Number.isFinite(ctime) &&
    (parent === null || typeof parent === 'string')
  )
}

/** Whether a value out of the index says that the archive is damaged. */
export function isUnreadable(value: unknown): value is Unreadable {
  if (typeof value !== 'object' || value === null) return false
  const { unreadable, isSealed } = value as Record<string, unknown>
  return typeof unreadable === 'string' && typeof isSealed === 'boolean'
}
