/** Sorts the files of a place into archives: one has its bytes, others are beside it. */

import { parseArchiveName, SUFFIXES } from '../storage/archive/names.ts'
import type { PlaceEntry } from '../storage/archive/place.ts'

/** The files of one archive. */
export interface ArchiveFiles {
  /** The folder in the place that they are in, with a slash; empty if they are in the place itself. */
  folder: string
  /** The name without the number of a volume. */
  archive: string
  /** The file that names the archive: its only one, or its first volume. Null if that is gone. */
  first: PlaceEntry | null
  /** The files with its bytes. */
  bytes: PlaceEntry[]
  /** The files beside it, by their suffixes. */
  beside: Map<string, PlaceEntry>
}

/** Sorts files, and calls nothing an archive that has not the name of one. */
export function groupFiles(entries: Iterable<PlaceEntry>): ArchiveFiles[] {
  const groups = new Map<string, ArchiveFiles>()
  for (const entry of entries) {
    const slash = entry.name.lastIndexOf('/') + 1
    const [folder, name] = [entry.name.slice(0, slash), entry.name.slice(slash)]
    const parsed = parseArchiveName(name)
    if (parsed === null) continue
    const { archive, volume, suffix } = parsed
    const key = folder + archive
    const group: ArchiveFiles = groups.get(key) ?? { folder, archive, first: null, bytes: [], beside: new Map() }
    groups.set(key, group)
    if (suffix !== null) group.beside.set(volume === null ? suffix : name.slice(archive.length + 1), entry)
    else {
      group.bytes.push(entry)
      if (volume === null || (volume === 0 && group.first === null)) group.first = entry
    }
  }
  return [...groups.values()]
}

/** Whether its removal had begun when a run ended. */
export function isBeingRemoved({ beside }: ArchiveFiles): boolean {
  return beside.has(SUFFIXES.removal)
}

/**
 * All bytes of the archive as if they were in one file. What was known of an archive in volumes counts no more when one of them or
 * their list has come, gone or changed: people copy them one after the other.
 */
export function contentOf({ first, bytes, beside }: ArchiveFiles): PlaceEntry {
  const list = beside.get(SUFFIXES.volumes)
  const files = list === undefined ? bytes : [...bytes, list]
  const times = files.map(({ modified }) => modified)
  return {
    name: first!.name,
    size: files.reduce((sum, { size }) => sum + size, 0),
    modified: times.reduce((newest, time) => (newest === null || time === null ? null : newest > time ? newest : time)),
  }
}

/** All files, those that make it an archive first. */
export function filesOf({ first, bytes, beside }: ArchiveFiles): PlaceEntry[] {
  const others = bytes.filter((entry) => entry !== first)
  return [...(first ? [first] : []), ...others, ...beside.values()]
}
