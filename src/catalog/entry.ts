/** What is known of an archive at a place: what its header says, and what was noted beside it. */

/** A check that an archive went through. */
export interface Check {
  kind: 'verify' | 'sample' | 'boot'
  /** When it ended, as ISO 8601. */
  at: string
  passed: boolean
  /** One line for people, such as "the guest agent answered after 12 s". */
  detail?: string
  /** Name of a file beside the archive, such as the picture of the screen. */
  file?: string
  /** The work of a fleet that asked for it: if it is given twice, its check is found. */
  work?: string
}

/** What people and checks have noted of an archive. It is in files beside the archive, with its name and a suffix. */
export interface Annotations {
  /** It is never removed by itself. */
  protected: boolean
  notes: string | null
  /** The latest of each kind. */
  checks: readonly Check[]
}

export interface CatalogEntry extends Annotations {
  /** Where the archive is, as `restore` takes it. */
  place: string
  /** Name of its file, without the folder. */
  name: string
  /** Name of the guest by the archive's record; null if it has none. */
  guest: string | null
  /** Empty if it cannot be read. */
  uuid: string
  /** The point in time, in seconds since 1970; 0 if it is not known. */
  ctime: number
  kind: 'full' | 'incremental'
  /** The uuid of its parent, if it is incremental. */
  parent: string | null
  /** Bytes that it takes at the place, with all of its volumes. */
  size: number
  /** When it was written there, as ISO 8601; null if the place does not say. */
  written: string | null
  encrypted: boolean
  /** Why nothing more is known of it: it is damaged, or no key opens it. */
  unreadable?: string
  /** It is only that no key opens it. */
  isLocked?: boolean
}
