/** What it means when the point in time cannot be read any more. */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { QemuConnection } from './connection.ts'

/** A QEMU that ends closes all its sockets within this many milliseconds; one that says so, in good order. */
const SAME_END_MS = 300
const SHUTDOWN_MS = 5000

export async function explainPull(error: unknown, connection: QemuConnection): Promise<unknown> {
  const { code } = ((error as Error)?.cause ?? {}) as NodeJS.ErrnoException
  if (connection.isShuttingDown) return Promise.race([connection.gone, sleep(SHUTDOWN_MS, error, { ref: false })])
  if (code === 'EINVAL') {
    const message =
      'QEMU has given the point in time up, so that a write of the guest could go on: its old data did not reach us in time'
    const hint = 'the guest is well; try a faster target or a larger --buffer'
    return new VmapipeError('FAILED', message, { ...asVmapipeError(error).where, hint, cause: error })
  }
  // EIO and the like are of the drive. Everything else may be the end of QEMU, which its connection tells better.
  if (code !== undefined && code !== 'ECONNRESET' && code !== 'EPIPE') return error
  return Promise.race([connection.gone, sleep(SAME_END_MS, error, { ref: false })])
}
