/** The places of a job: whether they can be written, and the folder of a guest at each. */

import { randomBytes } from 'node:crypto'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { openPlace } from '../../storage/archive/open-place.ts'
import { parsePlace } from '../../storage/archive/spec.ts'
import type { Clock } from '../clock.ts'
import type { Job, PlaceEntry } from '../file/schema.ts'
import { guestFolder } from '../guests/guest.ts'
import { isLasting, retriesOf } from './retries.ts'

/** The folder of a guest at a place, with a slash at its end. */
export function folderAt({ place }: Pick<PlaceEntry, 'place'>, guest: string): string {
  return `${baseOf(place)}${guestFolder(guest)}/`
}

/** The place with one slash at its end. */
export function baseOf(place: string): string {
  return `${place.replace(/\/+$/, '')}/`
}

export function isRequired({ required = true }: PlaceEntry): boolean {
  return required
}

/** Bytes of a probe: few, but not none, which some stores take without a right. */
const PROBE_BYTES = 64

/** Writes a small file there, reads it and removes it. Errors: USAGE, FAILED. */
export async function probe(place: string): Promise<void> {
  const path = `${baseOf(place)}vmapipe-probe-${randomBytes(8).toString('hex')}`
  const file = openPlace(path)
  await file.makeFolder?.()
  const content = randomBytes(PROBE_BYTES)
  const target = file.target({ force: false })
  try {
    await target.open()
    await target.write([content])
    await target.finish()
  } finally {
    await target.abort()
  }
  try {
    const bytes = await file.ranges!({})
    try {
      const read = Buffer.alloc(PROBE_BYTES)
      await bytes.read(read, 0)
      if (!read.equals(content)) throw new Error('what was read is not what was written')
    } finally {
      await bytes.close()
    }
  } finally {
    await file.remove!()
  }
}

export interface Probed {
  entry: PlaceEntry
  /** Null if it can be written. */
  error: VmapipeError | null
}

/** All places at once: one that hangs holds up no other. */
export async function probeAll(job: Job): Promise<Probed[]> {
  return Promise.all(
    job.to.map(async (entry) => {
      try {
        await probe(entry.place)
        return { entry, error: null }
      } catch (error) {
        return { entry, error: asVmapipeError(error) }
      }
    }),
  )
}

interface ReachOptions {
  clock: Clock
  signal: AbortSignal
  /** Told what is being done. */
  say: (text: string) => void
  warn: (text: string) => void
}

/** The places that can be written. Errors: FAILED, one line about a required place that stays away through all attempts, ABORTED. */
export async function reachablePlaces(job: Job, { clock, signal, say, warn }: ReachOptions): Promise<PlaceEntry[]> {
  const { count, delay } = retriesOf(job)
  for (let attempt = 0; ; attempt++) {
    say('looking at the places')
    const probed = await probeAll(job)
    signal.throwIfAborted()
    const failed = probed.find(({ entry, error }) => isRequired(entry) && error !== null)
    if (failed === undefined) {
      for (const { entry, error } of probed)
        if (error !== null) warn(`'${entry.place}' cannot be written, and is left out: ${error.text}`)
      return probed.filter(({ error }) => error === null).map(({ entry }) => entry)
    }
    const why = failed.error!
    const what = `'${failed.entry.place}' cannot be written`
    if (attempt >= count || isLasting(why)) {
      const message = `${what}, so nothing was backed up: ${why.message}`
      throw new VmapipeError('FAILED', message, { hint: why.hint, cause: why })
    }
    say(`${what}: ${why.message}; it is tried again`)
    await clock.sleep(delay, signal)
  }
}

/** What must not be used by too many at once: all folders of a host, a bucket, or a disk here. */
export function placeKey(place: string): string {
  const parsed = parsePlace(`${baseOf(place)}any`)
  if (parsed.kind === 'ssh') return `place:ssh:${parsed.host}:${parsed.port ?? ''}`
  if (parsed.kind === 's3') return `place:s3:${parsed.bucket}`
  return `place:${baseOf(place)}`
}
