/** Errors of a server that does not keep to the NBD protocol. */

import { VmapipeError } from '../../core/errors.ts'

/** A peer that does not keep to the protocol, or is not an NBD peer at all. */
export function violation(message: string): VmapipeError {
  return new VmapipeError('FAILED', `the NBD server does not keep to the protocol: ${message}`)
}

/** A number of a message, for messages of our own. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`
}
