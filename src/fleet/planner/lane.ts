/**
 * A lane is the waiting works of one host that need the same: the same places, storages and window. What keeps the first of them from beginning
 * keeps all of them, so a lane waits as a whole, and thousands of works are a few hundred lanes.

 * A limit is how many works may use a host, a place or a storage at once; it has the lanes that wait for it.
 */

import { Heap, type HeapItem } from './heap.ts'
import type { PlannedWork } from './types.ts'

/** What is counted: a host, a place or a storage. */
export interface Usage {
  readonly key: string
  count: number
  /** Hosts that may use it and have not said yet what they run: nothing begins until each has, or counts as gone. */
  readonly unheard: Set<string>
  /** Hosts may set different limits for one place. */
  readonly limits: Map<number, Limit>
  /** A slot is kept for this lane, which was passed over too often. */
  keeper: Lane | null
}

export interface Limit {
  readonly usage: Usage
  readonly most: number
  /** For people: what is limited. */
  readonly what: string
  readonly parked: Heap<Lane>
  /** One of its lanes is being looked at. */
  isProbed: boolean
  /** Lanes that need it. */
  lanes: number
}

export function hasRoom({ usage, most }: Limit, lane: Lane): boolean {
  if (usage.unheard.size > 0) return false
  const kept = usage.keeper === null || usage.keeper === lane ? 0 : 1
  return usage.count + kept < most
}

export interface Waiting extends HeapItem {
  readonly work: PlannedWork
  readonly lane: Lane
  /** The heap that it is in; null while its guest is in use. */
  home: Heap<Waiting> | null
}

export class Lane implements HeapItem {
  at = -1
  readonly key: string
  readonly host: string
  readonly window: string | null
  readonly limits: readonly Limit[]
  /** Those that could begin, but for the lane. */
  readonly works = new Heap<Waiting>((a, b) => byNeed(a.work, b.work))
  /** Also those whose guest is in use, or that are not to begin yet. */
  readonly all = new Set<Waiting>()
  /** Where it waits; null if it waits for its host, or has no works. */
  home: Heap<Lane> | null = null
  /** The limit that had room, for which it is looked at. */
  from: Limit | null = null
  /** When its window opens. */
  opens = 0
  /** Times in a row that one of its limits had room while another had none. */
  misses = 0

  constructor(key: string, host: string, window: string | null, limits: readonly Limit[]) {
    this.key = key
    this.host = host
    this.window = window
    this.limits = limits
  }

  get first(): PlannedWork {
    return this.works.first!.work
  }

  /** Moves it to another heap; null takes it out. */
  moveTo(home: Heap<Lane> | null): void {
    this.home?.remove(this)
    this.home = home
    home?.push(this)
  }

  /** Its first work may be another one now. */
  reorder(): void {
    if (this.works.size === 0) this.moveTo(null)
    else this.home?.moved(this)
  }
}

/** The order in which works begin: the oldest last good backup first, and before them those that have none. It is the same on each planner. */
export function byNeed(a: PlannedWork, b: PlannedWork): number {
  if (a.lastGood !== b.lastGood) return (a.lastGood ?? -Infinity) - (b.lastGood ?? -Infinity)
  return a.due - b.due || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
}

export function byFirst(a: Lane, b: Lane): number {
  return byNeed(a.first, b.first)
}
