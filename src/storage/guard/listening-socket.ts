/** Finds the socket of this host that listens on an address, by proc(5): a server often has several addresses. Linux only. */

import { readFile } from 'node:fs/promises'
import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'

const LISTENING = '0A'

/** Identifies the socket that listens on this address and port. Null if it is not of this host, or unknown. */
export async function listenerOf(address: string, port: number): Promise<string | null> {
  if (!isLocal(address)) return null
  const lines = await Promise.all(['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'utf8').catch(() => '')))
  const listeners = lines.flatMap((text) => text.split('\n').flatMap(listenerIn)).filter((one) => one.port === port)
  const wanted = canonical(address)
  const exact = listeners.find((one) => one.address === wanted)
  const any = listeners.find((one) => one.address === ANY_4 && isIP(address) === 4)
  const anyOfBoth = listeners.find((one) => one.address === ANY_6)
  const found = exact ?? any ?? anyOfBoth
  return found === undefined ? null : `listener ${found.inode}`
}

interface Listener {
  /** The hexadecimal digits of an IPv6 address, or of an IPv4 address mapped into IPv6. */
  address: string
  port: number
  inode: string
}

const MAPPED = '00000000000000000000ffff'
const ANY_4 = `${MAPPED}00000000`
const ANY_6 = '0'.repeat(32)

/** Parses a line "sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode". Addresses are words in this machine's byte order. */
function listenerIn(line: string): Listener[] {
  const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
  if (state !== LISTENING) return []
  const [words, port] = local.split(':')
  const address = Buffer.from(words, 'hex').swap32().toString('hex')
  return [{ address: address.length === 8 ? MAPPED + address : address, port: Number.parseInt(port, 16), inode }]
}

function canonical(address: string): string {
  if (isIP(address) === 4) return MAPPED + Buffer.from(address.split('.').map(Number)).toString('hex')
  const [head, tail = null] = address.split('%')[0].split('::')
  const parts = (text: string) => (text === '' ? [] : text.split(':'))
  const left = parts(head)
  const right = tail === null ? [] : parts(tail)
  const middle = Array(Math.max(0, 8 - left.length - right.length)).fill('0')
  return [...left, ...middle, ...right]
    .map((part) => part.padStart(4, '0'))
    .join('')
    .toLowerCase()
}

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

function isLocal(address: string): boolean {
  const family = isIP(address)
  if (family === 0) return false
  if (LOOPBACK.check(address, family === 6 ? 'ipv6' : 'ipv4')) return true
  return Object.values(networkInterfaces()).some((all) => all?.some((one) => one.address === address.split('%')[0]))
}
