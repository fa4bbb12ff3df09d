/** Where the planner listens for agents and people. */

import { isIPv4, isIPv6 } from 'node:net'
import { VmapipeError } from '../../core/errors.ts'

export interface ListenAddress {
  host: string
  /** 0 for any that is free. */
  port: number
}

/** Reads `127.0.0.1:8460`, `[::]:8460` or `planner.example:8460`. Throws USAGE. */
export function parseListen(text: string): ListenAddress {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text) ?? []
  const host = bracketed ?? plain
  if (host === undefined || Number(port) > 65535 || (bracketed !== undefined && !isIPv6(bracketed)))
    throw new VmapipeError('USAGE', `'${text}' is no address to listen on`, {
      hint: 'write it as 127.0.0.1:8460, [::]:8460 or 0.0.0.0:8460',
    })
  return { host, port: Number(port) }
}

/** Whether only this machine can connect there. Of names only `localhost` is known to be such. */
export function isLoopback(host: string): boolean {
  if (isIPv4(host)) return host.startsWith('127.')
  return host.toLowerCase() === 'localhost' || (isIPv6(host) && /^(0{0,4}:){2,7}0{0,3}1$/.test(host))
}

export function addressText({ host, port }: ListenAddress): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`
}
