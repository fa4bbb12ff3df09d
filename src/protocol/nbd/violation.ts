/** Errors of a server that does not keep to the NBD protocol. */

import { VmapipeError } from '../../core/errors.ts'

/** The error of a server that does not keep to the protocol, or is no NBD server at all. */
export function violation(message: string): VmapipeError {
  return new VmapipeError('FAILED', `the NBD server does not keep to the protocol: ${message}`)
}

/** A number of the protocol as text. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`
}
