/** Which view is shown: the hash of the address, such as `#/guest/host1/web?sort=age`. Links are plain links, so that Back works. */

import { computed, signal } from '@preact/signals'

const hash = signal(location.hash)
addEventListener('hashchange', () => {
  hash.value = location.hash
})

export interface Route {
  view: string
  /** What follows the view in the path, decoded. */
  parts: string[]
  query: URLSearchParams
}

export const route = computed<Route>(() => {
  const [path, query = ''] = hash.value.replace(/^#\/?/, '').split(/\?(.*)/s)
  const [view = '', ...parts] = path.split('/').map(decoded)
  return { view: view || 'now', parts, query: new URLSearchParams(query) }
})

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

type Query = Record<string, string | null | undefined>

/** The address of a view; `parts` may hold any characters. */
export function href(view: string, parts: readonly string[] = [], query: Query = {}): string {
  const path = [view, ...parts].map(encodeURIComponent).join('/')
  const kept = Object.entries(query).filter((entry): entry is [string, string] => !!entry[1])
  const text = new URLSearchParams(kept).toString()
  return `#/${path}${text && `?${text}`}`
}

export function go(view: string, parts: readonly string[] = [], query: Query = {}): void {
  location.hash = href(view, parts, query)
}

/** Changes the query of this view without a new entry in the history: for filters. */
export function filter(change: Query): void {
  const { view, parts, query } = route.peek()
  const address = href(view, parts, { ...Object.fromEntries(query), ...change })
  history.replaceState(null, '', address)
  hash.value = address
}
