/** An answer of the server that is kept up to date: loaded when a view shows it, and again when the server says that it has changed. */

import { type Signal, signal } from '@preact/signals'
import { useEffect, useMemo } from 'preact/hooks'
import { CallError, get } from './api.ts'

export interface Resource<T> {
  /** Undefined until the first answer. */
  readonly data: Signal<T | undefined>
  readonly error: Signal<CallError | null>
  refresh(): Promise<void>
}

export type Topic = 'now' | 'guests' | 'archives' | 'jobs' | 'hosts'

/** Those that a view shows now, by what changes them. */
const shown = new Set<[Resource<unknown>, Topic | null]>()

export function resource<T>(path: string, query: Record<string, string | undefined> = {}): Resource<T> {
  const data = signal<T | undefined>(undefined)
  const error = signal<CallError | null>(null)
  let running: Promise<void> | null = null
  let again = false
  const load = async () => {
    do {
      again = false
      try {
        data.value = await get<T>(path, query)
        error.value = null
      } catch (problem) {
        error.value = problem instanceof CallError ? problem : new CallError(0, String(problem))
      }
    } while (again)
    running = null
  }
  return {
    data,
    error,
    // One request at a time: what changes meanwhile is asked for once more.
    refresh() {
      if (running !== null) again = true
      running ??= load()
      return running
    },
  }
}

/** Keeps `held` fresh as long as the calling component is shown. */
export function useFresh<T>(held: Resource<T>, topic: Topic | null): Resource<T> {
  useEffect(() => {
    // Two components may show the same, and one of them go away.
    const entry: [Resource<unknown>, Topic | null] = [held as Resource<unknown>, topic]
    shown.add(entry)
    held.refresh()
    return () => void shown.delete(entry)
  }, [held])
  return held
}

/** A resource of the calling component alone, for an address that depends on what is shown. */
export function useResource<T>(
  path: string,
  query: Record<string, string | undefined>,
  topic: Topic | null,
): Resource<T> {
  const held = useMemo(() => resource<T>(path, query), [path, JSON.stringify(query)])
  return useFresh(held, topic)
}

/** Loads again what is shown and of this topic; that of all topics if none is given. */
export function changed(topic?: Topic): void {
  for (const [held, its] of shown) if (topic === undefined ? its !== null : its === topic) held.refresh()
}
