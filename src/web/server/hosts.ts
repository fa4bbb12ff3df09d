/**
 * The names by which the page may be called. A page of others can make a name of theirs lead to our address (DNS rebinding), and then ask us as
 * if it were ours. Such a request has their name in its Host header.
 */

import { isIP } from 'node:net'
import { hostname } from 'node:os'
import type { Listen } from './listen.ts'

const LOOPBACK = ['localhost', '127.0.0.1', '::1']

export class HostNames {
  readonly #names: ReadonlySet<string>
  readonly #anyAddress: boolean

  constructor(listen: Listen, names: readonly string[] = []) {
    const host = 'path' in listen ? null : listen.host
    // An address cannot be rebound: whoever names it means it.
    this.#anyAddress = host === '0.0.0.0' || host === '::'
    const own = host === null ? [] : LOOPBACK.includes(host) ? [host] : [host, hostname()]
    this.#names = new Set([...LOOPBACK, ...own, ...names].map(plain))
  }

  /** `header`: that of Host, with or without a port. */
  has(header: string | undefined): boolean {
    const name = nameOf(header ?? '')
    return name !== null && (this.#names.has(name) || (this.#anyAddress && isIP(name) !== 0))
  }
}

/** Null if it is none. */
function nameOf(header: string): string | null {
  const [, bracketed, name] = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(header) ?? []
  const found = bracketed ?? name
  return found === undefined ? null : plain(found)
}

function plain(name: string): string {
  return name
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '')
}
