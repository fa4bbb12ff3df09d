/**
 * The contract of a place where archives are: a folder, a bucket, another host, a command. Every place can be written and read in order.
 * What else it can is said by the methods that it has, and by `can`.
 */

import type { Counters } from '../../core/counters.ts'
import type { ArchiveBytes } from './archive-bytes.ts'
import type { ArchiveSource, ArchiveTarget, SourceOptions, TargetOptions } from './endpoint.ts'

export interface Place {
  readonly can: Capabilities
  /** Writes an archive there, in order. */
  target(options: TargetOptions): ArchiveTarget
  /** Reads the archive there, from its beginning to its end. */
  source(options: SourceOptions): ArchiveSource
  /** Reads the archive there in any order. */
  ranges?(options: RangeOptions): Promise<ArchiveBytes>
  /** Looks at the archive there; null if there is none. */
  stat?(): Promise<PlaceEntry | null>
  /** What is in the same folder, or has the same prefix up to the last slash. */
  list?(options?: ListOptions): AsyncIterable<PlaceEntry>
  /** Makes the folder that the archive is in, and those above it, if they are missing. A place that has no folders does not have it. */
  makeFolder?(): Promise<void>
  /** Removes the archive. It is no error if there is none. */
  remove?(): Promise<void>
  /** Gives the archive another name in the same folder. Throws FAILED if that name is taken. */
  rename?(name: string): Promise<void>
}

export interface Capabilities {
  /** An archive that is there is not replaced unless that is allowed, even one that appears while another is written. */
  readonly noReplace: boolean
  /** An archive that is finished outlasts a power failure. */
  readonly durable: boolean
  /** The place itself can copy an archive. */
  readonly serverCopy: boolean
}

export interface ListOptions {
  /** Also what is in the folders there, but not in folders of theirs. Names that begin with a dot may be left out. */
  folders?: boolean
  signal?: AbortSignal
}

export interface PlaceEntry {
  /** Without the folder; with the name of the folder and a slash before it, if it is in a folder of that folder. */
  name: string
  size: number
  /** When it was written, as ISO 8601; null if that is not known. */
  modified: string | null
}

export interface RangeOptions {
  /** Counts the bytes read. */
  counters?: Counters
  /** Ends reads that wait for another machine. */
  signal?: AbortSignal
  /** One line for the user that is not an error. */
  warn?: (message: string) => void
}
