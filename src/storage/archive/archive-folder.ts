/**
 * A place with many archives: a folder here or on another host, or a bucket with the beginning of names. Archives are in it, or in
 * folders in it, one for each guest.
 */

import { realpath, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { openPlace } from './open-place.ts'
import type { ListOptions, PlaceEntry } from './place.ts'
import { parseS3Prefix, s3Name } from './s3/s3-url.ts'
import { parsePlace } from './spec.ts'

export interface ArchiveFolder {
  readonly kind: 'file' | 'ssh' | 's3'
  /** As a user writes it, with a slash at its end. */
  readonly spec: string
  /** The same for every way to write the place. */
  readonly identity: string
  /** The place of a file in it, whose name may have one folder before it. */
  at(name: string): string
  /** The files in it. Errors: FAILED if it is not there. */
  list(options?: ListOptions): AsyncIterable<PlaceEntry>
}

/** Reads the place of a folder; a slash at its end may be left out. Throws USAGE for a place that cannot list what is in it. */
export async function openArchiveFolder(spec: string): Promise<ArchiveFolder> {
  if (spec.startsWith('s3:')) return bucketFolder(spec)
  const slashed = spec.endsWith('/') ? spec : `${spec}/`
  const probe = spec === '' || spec === '-' || spec.startsWith('exec:') ? null : parsePlace(`${slashed}any`)
  if (probe?.kind === 'ssh') {
    // A name may have a % in it, which begins an escape in the place.
    const at = (name: string) => slashed + name.split('/').map(encodeURIComponent).join('/')
    return folderOf('ssh', slashed, slashed, at)
  }
  if (probe?.kind === 'file') return localFolder(spec)
  throw new VmapipeError('USAGE', `'${spec}' is no place whose archives can be listed`, {
    hint: 'name a folder, ssh://host/folder/ or s3://bucket/prefix/',
  })
}

async function localFolder(spec: string): Promise<ArchiveFolder> {
  const found = await stat(spec).catch((error) => {
    throw asVmapipeError(error, { file: spec })
  })
  if (!found.isDirectory()) {
    throw new VmapipeError('USAGE', `'${spec}' is not a folder`, { hint: 'name the folder that the archives are in' })
  }
  const identity = await realpath(spec).catch(() => resolve(spec))
  const at = (name: string) => {
    const path = join(spec, name)
    // A path that looks like the place of another kind stays a path.
    return /^[^/]*:/.test(path) ? `./${path}` : path
  }
  return folderOf('file', spec.endsWith('/') ? spec : `${spec}/`, identity, at)
}

function bucketFolder(spec: string): ArchiveFolder {
  const { bucket, key } = parseS3Prefix(spec)
  const slashed = s3Name({ bucket, key: key === '' || key.endsWith('/') ? key : `${key}/` })
  return folderOf('s3', slashed, slashed, (name) => slashed + name)
}

function folderOf(kind: ArchiveFolder['kind'], spec: string, identity: string, at: ArchiveFolder['at']): ArchiveFolder {
  return { kind, spec, identity, at, list: (options) => openPlace(at('any')).list!(options) }
}

/** The folder that an archive is in, as `openArchiveFolder` takes it; null if its place has none. */
export function folderOfArchive(place: string): string | null {
  const { kind } = parsePlace(place)
  if (kind === 'stdio' || kind === 'exec') return null
  const at = place.lastIndexOf('/')
  return at < 0 ? './' : place.slice(0, at + 1)
}
