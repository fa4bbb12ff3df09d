import type { Parser } from '../../feeder.ts'

/** A fault of a client after which nothing that it sends can be understood: the connection ends. */
export class ClientFault extends Error {}

const DRAIN_BYTES = 64 * 1024
/** A buffer for bytes that are thrown away. */
const waste = Buffer.allocUnsafeSlow(DRAIN_BYTES)

/** Reads the next `bytes` bytes and throws them away. */
export function* drain(bytes: number): Parser {
  for (let left = bytes; left > 0; left -= DRAIN_BYTES) yield waste.subarray(0, Math.min(left, DRAIN_BYTES))
}
