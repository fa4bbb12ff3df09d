/**
 * NBD URIs, by the specification "NBD Uniform Resource Indicator" (doc/uri.md of the NBD project):
 *
 *   nbd://HOST[:PORT]/EXPORT          TCP; HOST may be an IPv6 address in brackets
 *   nbd+unix:///EXPORT?socket=PATH    a unix socket
 *
 * An absent EXPORT is the default export, the empty name.
 */

import { VmapipeError } from '../../core/errors.ts'
import { MAX_STRING } from './constants.ts'

const DEFAULT_PORT = 10809

export type NbdAddress = { exportName: string } & ({ socketPath: string } | { host: string; port: number })

export function parseNbdUri(uri: string): NbdAddress {
  const [, scheme, authority, path, query] = /^([\w+]+):\/\/([^/?#]*)\/?([^?#]*)(?:\?([^#]*))?$/.exec(uri) ?? []
  if (scheme === undefined) throw bad(uri, 'not an NBD URI')
  if (scheme.startsWith('nbds')) throw bad(uri, 'NBD over TLS is not supported yet', 'use nbd:// through an SSH tunnel')
  const exportName = decode(uri, path)
  if (Buffer.byteLength(exportName) > MAX_STRING) throw bad(uri, `an export name has at most ${MAX_STRING} bytes`)
  if (scheme === 'nbd') return { exportName, ...hostAndPort(uri, authority) }
  if (scheme === 'nbd+unix') return { exportName, socketPath: socketOf(uri, query ?? '') }
  throw bad(uri, `'${scheme}' is not supported`, 'nbd:// and nbd+unix:// are known')
}

/** The address as a URI, for messages. */
export function formatNbdAddress(address: NbdAddress): string {
  const exportName = encodeURIComponent(address.exportName)
  if ('socketPath' in address)
    return `nbd+unix:///${exportName}?socket=${address.socketPath.replace(/[%#&+ ]/g, encodeURIComponent)}`
  const name = address.host.replaceAll('%', '%25')
  const host = name.includes(':') ? `[${name}]` : name
  return `nbd://${host}${address.port === DEFAULT_PORT ? '' : `:${address.port}`}/${exportName}`
}

function hostAndPort(uri: string, authority: string): { host: string; port: number } {
  const [, ipv6, name, digits] = /^(?:[^@]*@)?(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:@[\]]*))(?::(\d*))?$/.exec(authority) ?? []
  const host = decode(uri, ipv6 ?? name ?? '')
  if (host === '') throw bad(uri, 'no host', 'nbd+unix:///?socket=PATH is for unix sockets')
  const port = digits ? Number(digits) : DEFAULT_PORT
  if (port < 1 || port > 65535) throw bad(uri, `no such port: ${digits}`)
  return { host, port }
}

function socketOf(uri: string, query: string): string {
  const value = query
    .split('&')
    .find((part) => part.startsWith('socket='))
    ?.slice('socket='.length)
  if (!value) throw bad(uri, 'no ?socket=PATH')
  return decode(uri, value)
}

function decode(uri: string, text: string): string {
  try {
    const decoded = decodeURIComponent(text)
    if (!decoded.includes('\0')) return decoded
  } catch {}
  throw bad(uri, 'broken percent-encoding')
}

function bad(uri: string, message: string, hint?: string): VmapipeError {
  return new VmapipeError('USAGE', `${uri}: ${message}`, { hint })
}
