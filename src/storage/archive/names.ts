/**
 * Names of archives and of the files that belong to them. An archive is one file, or volumes NAME.000, NAME.001 and so on with a list
 * NAME.volumes. What is known of it is in small files beside it, with its name and a suffix.
 */

/** Names that archives of ours and of Proxmox have: compressed and encrypted too. */
const ARCHIVE = /^[^.].*\.vm[ai](?:\.(?:zst|lz4|gz|lzo|bz2|xz))?(?:\.age)?$/s
/** Names that archives may have that a user has named in another way. */
const LIKELY = /\.vm[ai](\.|$)/
/** A number of a volume, then perhaps a suffix of a file beside it. */
const BESIDE = /^(.+?\.vm[ai](?:\.(?:zst|lz4|gz|lzo|bz2|xz))?(?:\.age)?)(?:\.(\d{3}))?(?:\.([a-z]+(?:\.png)?))?$/s

/** Suffixes of files beside an archive, which nothing but the archive gives a meaning. */
export const SUFFIXES = {
  index: 'idx',
  hashes: 'hashes',
  volumes: 'volumes',
  notes: 'notes',
  protection: 'protected',
  checks: 'checks',
  /** The archive is being removed: what is left of it goes too. */
  removal: 'removing',
} as const

const KNOWN: ReadonlySet<string> = new Set(Object.values(SUFFIXES))

export interface NameOfArchive {
  /** The name without the number of a volume and without a suffix. */
  archive: string
  /** The number of the volume; null if the archive is in one file. */
  volume: number | null
  /** What the file has beside the archive; null for the archive's own bytes. */
  suffix: string | null
}

/** Reads the name of an archive's file, without its folder; null for files that belong to no archive. */
export function parseArchiveName(name: string): NameOfArchive | null {
  if (ARCHIVE.test(name)) return { archive: name, volume: null, suffix: null }
  if (name.startsWith('.')) return null
  const [, archive, number, suffix = null] = BESIDE.exec(name) ?? []
  if (archive === undefined || (suffix !== null && !KNOWN.has(suffix) && !suffix.endsWith('png'))) return null
  return { archive, volume: number === undefined ? null : Number(number), suffix }
}

/** Whether an archive may begin in a file of this name, however a user has named it: it is no later volume, and nothing beside an archive. */
export function mayBeginArchive(name: string): boolean {
  if (!LIKELY.test(name) || name.startsWith('.')) return false
  const parsed = parseArchiveName(name)
  return parsed === null || (parsed.suffix === null && (parsed.volume ?? 0) === 0)
}

/** The place or name of what is beside an archive, which may be named by its first volume. */
export function besideArchive(archive: string, suffix: string): string {
  return `${archive.replace(/\.\d{3}$/, '')}.${suffix}`
}
