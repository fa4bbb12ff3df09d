import * as nbd from './constants.ts'
import type { Terms } from './handshake.ts'

/** The abilities that requests rely on, and their names in messages. */
const ABILITIES: [flag: number, name: string][] = [
  [nbd.FLAG_SEND_FLUSH, 'FLUSH'],
  [nbd.FLAG_SEND_FUA, 'FUA'],
  [nbd.FLAG_SEND_TRIM, 'TRIM'],
  [nbd.FLAG_SEND_WRITE_ZEROES, 'WRITE_ZEROES'],
]

/** Says how an export differs from what it was before, to follow "it came back". Null if it can take the place of the old one. */
export function changeOf(before: Terms, now: Terms): string | null {
  if (now.size !== before.size) return `with ${now.size} bytes instead of ${before.size}`
  const lost = (flag: number) => (before.flags & flag) !== 0 && (now.flags & flag) === 0
  const isReadOnly = ({ flags }: Terms) => (flags & nbd.FLAG_READ_ONLY) !== 0
  if (isReadOnly(now) && !isReadOnly(before)) return 'read-only'
  const missing = ABILITIES.filter(([flag]) => lost(flag)).map(([, name]) => name)
  if (missing.length > 0) return `without ${missing.join(' and ')}`
  if (before.allocationContext !== null && now.allocationContext === null) return 'without a map (base:allocation)'
  if (now.minBlock > before.minBlock) return `with blocks of ${now.minBlock} bytes instead of ${before.minBlock}`
  if (now.maxPayload < before.maxPayload) {
    return `with requests of at most ${now.maxPayload} bytes instead of ${before.maxPayload}`
  }
  return null
}
