/**
 * Runs a backup that may be incremental. Before anything is read, the parent is looked for and opened. If `auto` finds none that can be
 * used, the archive becomes a full one, which says why. A parent that the user names must be usable.
 */

import { dirname } from 'node:path'
import type { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { RunOptions } from '../../core/pipeline.ts'
import type { BoundStage } from '../../core/stage.ts'
import { uuidText } from '../../formats/vma/header.ts'
import { CHANGE_FILTER } from '../../stages/change-filter.ts'
import { sink } from '../../stages/sink.ts'
import { s3Name } from '../../storage/archive/s3/s3-url.ts'
import { hasName, parsePlace } from '../../storage/archive/spec.ts'
import type { OpenParent } from './chain-parent.ts'
import { guestNameOf } from './guest-name.ts'
import { isFolder, nameInFolder, renamed } from './naming.ts'
import { newestOf } from './newest.ts'
import { openParent } from './open-parent.ts'
import { mapSinks, placesOf } from './sinks.ts'

/** The word for the newest archive of the guest in the target's folder. */
export const AUTO = 'auto'

export interface SinceOptions extends Pick<RunOptions, 'signal' | 'warn' | 'inform' | 'threads'> {
  /** What opens the parent if it is encrypted. */
  keys?: Keyring | undefined
  /** A parent that is named and cannot be used makes the archive a full one, as with `auto`; otherwise it ends the backup. */
  orFull?: boolean | undefined
}

/** What is known of the parent before a backup begins. */
type Choice = { place: string; parent: OpenParent } | { reason: string }

/** Calls `run` with the stages for the parent that was found. Stages without a change-filter are run as they are. */
export async function withSince<Result>(
  stages: readonly BoundStage[],
  options: SinceOptions,
  run: (stages: readonly BoundStage[]) => Promise<Result>,
): Promise<Result> {
  const filter = stages.find(isFilter)
  if (filter === undefined || optionsOf(filter).against !== undefined) return run(stages)
  const { since, guest = guestNameOf(stages[0]) } = optionsOf(filter)
  const choice = await choose(since, guest, stages, options)
  const parent = 'parent' in choice ? choice.parent : null
  try {
    tell(choice, options)
    const against = parent ?? ('reason' in choice ? choice.reason : '')
    const bound = stages.map((stage) => (isFilter(stage) ? changed(stage, { against, guest }) : stage))
    return await run(withNames(bound, { guest, isIncremental: parent !== null }, options))
  } finally {
    await parent?.close()
  }
}

interface FilterOptions {
  since: string
  guest?: string
  against?: unknown
}

function isFilter({ definition }: BoundStage): boolean {
  return definition.name === CHANGE_FILTER
}

function optionsOf({ options }: BoundStage): FilterOptions {
  return options as FilterOptions
}

function changed(stage: BoundStage, options: object): BoundStage {
  return { ...stage, options: { ...(stage.options as object), ...options } }
}

async function choose(
  since: string,
  guest: string,
  stages: readonly BoundStage[],
  options: SinceOptions,
): Promise<Choice> {
  if (since !== AUTO) {
    try {
      return { place: since, parent: await openParent(since, options) }
    } catch (error) {
      options.signal?.throwIfAborted()
      const failure = unusable(since, error)
      if (options.orFull) return { reason: failure.message }
      throw failure
    }
  }
  const folder = folderOf(placesOf(stages)[0])
  const { place, looked, unreadable } = await newestOf(guest, folder, options)
  if (place === null) {
    const others = unreadable > 0 ? `, and ${unreadable} of ${looked} archives there cannot be read` : ''
    return { reason: `there is no archive of this guest in '${folder}'${others}` }
  }
  try {
    return { place, parent: await openParent(place, options) }
  } catch (error) {
    options.signal?.throwIfAborted()
    return { reason: `the newest archive of this guest cannot be the parent: ${named(place, asVmapipeError(error))}` }
  }
}

/** The error with what it means for the backup. */
function unusable(place: string, error: unknown): VmapipeError {
  const failure = asVmapipeError(error)
  const { code, where, hint, cause } = failure
  const told = { ...where, hint: hint ?? 'name another parent, or leave out --since for a full archive' }
  return new VmapipeError(code, `the parent cannot be used: ${named(place, failure)}`, {
    ...told,
    cause: cause ?? error,
  })
}

/** The message, which names the archive. */
function named(place: string, { message }: VmapipeError): string {
  return message.includes(`'${place}'`) ? message : `'${place}': ${message}`
}

/** The folder of a target, or the bucket of one in a store, where `auto` looks. Throws USAGE for any other target. */
function folderOf(to: unknown): string {
  const place = typeof to === 'string' && !isFolder(to) ? parsePlace(to) : null
  if (typeof to === 'string' && isFolder(to)) return to
  if (place?.kind === 'file') return dirname(place.path)
  if (place?.kind === 's3') return s3Name({ ...place, key: place.key.slice(0, place.key.lastIndexOf('/') + 1) })
  if (typeof to === 'string' && place?.kind === 'ssh') return to.slice(0, to.lastIndexOf('/') + 1)
  throw new VmapipeError(
    'USAGE',
    'the newest archive is looked for in a folder, here or by ssh, or in a bucket, and the target is in none',
    {
      hint: 'name the parent: --since ARCHIVE',
    },
  )
}

function tell(choice: Choice, { inform }: SinceOptions): void {
  if ('reason' in choice) {
    inform?.(`the archive is a full one: ${choice.reason}`, { since: null, full: choice.reason })
    return
  }
  const { place, parent } = choice
  const { uuid, ctime } = parent.record
  const time = new Date(ctime * 1000).toISOString()
  inform?.(`incremental since '${place}', ${uuidText(uuid)} of ${time}`, {
    since: { place, uuid: uuidText(uuid), ctime },
    full: null,
  })
}

/** The stages with names of archives that say which kind they are. A folder gets an archive with a name of its own. */
function withNames(
  stages: readonly BoundStage[],
  { guest, isIncremental }: { guest: string; isIncremental: boolean },
  { inform }: SinceOptions,
): BoundStage[] {
  const ctime = Math.floor(Date.now() / 1000)
  return mapSinks(stages, (stage, { compression, isEncrypted }) => {
    const { to } = stage.options as { to: unknown }
    if (stage.definition.name !== sink.definition.name || typeof to !== 'string') return stage
    const name = isFolder(to)
      ? `${to}${nameInFolder({ guest, ctime, isIncremental, compression, isEncrypted })}`
      : hasName(to)
        ? renamed(to, isIncremental)
        : to
    if (name === to) return stage
    inform?.(`the archive is named '${name}'`, { to: name })
    return changed(stage, { to: name })
  })
}
