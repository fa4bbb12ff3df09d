/** What the planner decides with. Times are milliseconds since 1970. */

/** A place that a work writes to, and what limits it across hosts. */
export interface WorkPlace {
  place: string
  /** The storage that it is on; null if nobody says. */
  storage: string | null
  /** Guests at once, from all hosts. */
  parallel: number | null
}

export interface PlannedHost {
  host: string
  zone: string
  /** Guests at once. */
  parallel: number
  isUp: boolean
  /** It is not up yet, and may be in a moment. Only told to people. */
  isExpected?: boolean
  isDrained: boolean
}

/** A guest that is to be backed up. */
export interface PlannedWork {
  id: string
  host: string
  job: string
  guest: string
  due: number
  /** Null if it has no good backup at all: then it comes first. */
  lastGood: number | null
  places: readonly WorkPlace[]
  /** The part of the day in the host's zone in which it may begin, such as 22:00-06:00; null for any. */
  window: string | null
  /** Not before then: it has failed and waits, or its host's clock is behind. */
  notBefore: number
  /** It waits for its host's clock, which has not come to its time. */
  isEarly?: boolean
}

/** Something that uses slots: a work that was given to a host, or what a host says that it runs. */
export interface InUse {
  host: string
  guest: string | null
  places: readonly WorkPlace[]
}
