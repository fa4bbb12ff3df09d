/** Where the page is served: an address, or a unix socket. TLS is required but on loopback and a unix socket. */

import { BlockList, isIP, isIPv6 } from 'node:net'
import { VmapipeError } from '../../core/errors.ts'

export type Listen = { host: string; port: number } | { path: string }

/** Reads `127.0.0.1:8461`, `[::1]:8461`, `localhost:8461`, or the path of a unix socket. Throws USAGE. */
export function parseListen(text: string): Listen {
  if (text.startsWith('unix:')) return { path: text.slice(5) }
  if (text.includes('/')) return { path: text }
  const [, bracketed, plain, port] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/i.exec(text) ?? []
  const host = bracketed ?? plain
  if (host === undefined || Number(port) > 65535 || (bracketed !== undefined && !isIPv6(bracketed)))
    throw new VmapipeError('USAGE', `'${text}' is no address to listen at`, {
      hint: 'write it as 127.0.0.1:8461, [::1]:8461, or as the path of a unix socket',
    })
  return { host, port: Number(port) }
}

/** Whether only this host can connect. */
export function isLocal(listen: Listen): boolean {
  if ('path' in listen) return true
  return listen.host === 'localhost' || listen.host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(listen.host)
}

/** Throws USAGE if passwords and cookies would cross a network as they are. */
export function checkSafe(listen: Listen, hasTls: boolean): void {
  if (hasTls || isLocal(listen)) return
  throw new VmapipeError('USAGE', 'without TLS the page is served to this host alone', {
    hint: 'give --tls-cert and --tls-key, or --listen 127.0.0.1:8461 behind a proxy that speaks TLS',
  })
}

/** Peers that are trusted: addresses, networks such as 10.0.0.0/8, and `unix` for those of a unix socket. */
export class Peers {
  readonly #list = new BlockList()
  #unix = false

  /** Throws USAGE for what is no address. */
  constructor(texts: readonly string[]) {
    for (const text of texts) this.#add(text)
  }

  has(peer: string): boolean {
    if (peer === 'unix') return this.#unix
    return isIP(peer) !== 0 && this.#list.check(peer, isIPv6(peer) ? 'ipv6' : 'ipv4')
  }

  #add(text: string): void {
    if (text === 'unix') {
      this.#unix = true
      return
    }
    const [address, bits] = text.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    const most = family === 'ipv6' ? 128 : 32
    if (isIP(address) === 0 || (bits !== undefined && (!/^\d{1,3}$/.test(bits) || Number(bits) > most)))
      throw new VmapipeError('USAGE', `'${text}' is no address of a peer`, {
        hint: 'write it as 127.0.0.1, 10.0.0.0/8, ::1, or unix',
      })
    if (bits === undefined) this.#list.addAddress(address, family)
    else this.#list.addSubnet(address, Number(bits), family)
  }
}

/** The address of the other end; `unix` if it has none. */
export function peerOf(address: string | undefined): string {
  return address === undefined ? 'unix' : address.replace(/^::ffff:(?=\d+\.)/, '')
}
