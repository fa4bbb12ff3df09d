/** Finds out why the point in time cannot be read any more. */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { ERROR_CODES } from '../../protocol/nbd/constants.ts'
import type { QemuConnection } from './connection.ts'

/** Milliseconds within which a QEMU that dies closes all its sockets; and one that has announced its end. */
const SAME_END_MS = 1000
const SHUTDOWN_MS = 5000

/** The errors that an NBD server can answer a read with, but for the one which says that it ends. */
const DRIVE_ERRORS: ReadonlySet<string> = new Set(Object.values(ERROR_CODES).filter((code) => code !== 'ESHUTDOWN'))

export async function explainPull(error: unknown, connection: QemuConnection): Promise<unknown> {
  const { code } = ((error as Error)?.cause ?? {}) as NodeJS.ErrnoException
  if (connection.isShuttingDown) return Promise.race([connection.gone, sleep(SHUTDOWN_MS, error, { ref: false })])
  if (code === 'EINVAL') {
    const message =
      'QEMU has given the point in time up, so that a write of the guest could go on: its old data did not reach us in time'
    const hint = 'the guest is well; try a faster target or a larger --buffer'
    return new VmapipeError('FAILED', message, { ...asVmapipeError(error).where, hint, cause: error })
  }
  // What QEMU answers comes from the drive. Anything else may be the end of QEMU, of which its connection tells more.
  if (code !== undefined && DRIVE_ERRORS.has(code)) return error
  const isAsked = connection.qmp.watching === 'shared'
  if (isAsked) void connection.look()
  return Promise.race([connection.gone, sleep(isAsked ? SHUTDOWN_MS : SAME_END_MS, error, { ref: false })])
}
