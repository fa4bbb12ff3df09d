import type { Parser } from '../../feeder.ts'

/** A client that does not keep to the protocol so that nothing it says later can be made sense of: the connection ends. */
export class ClientFault extends Error {}

const DRAIN_BYTES = 64 * 1024
/** Nobody ever looks at what is in it. */
const waste = Buffer.allocUnsafeSlow(DRAIN_BYTES)

/** Throws the next `bytes` bytes away. */
export function* drain(bytes: number): Parser {
  for (let left = bytes; left > 0; left -= DRAIN_BYTES) yield waste.subarray(0, Math.min(left, DRAIN_BYTES))
}
