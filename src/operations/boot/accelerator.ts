/** What runs the guest's processors: KVM, or QEMU alone, which emulates them and is slow. */

import { existsSync } from 'node:fs'
import { VmapipeError } from '../../core/errors.ts'

export type Accelerator = 'kvm' | 'tcg'

/** QEMU cannot run the guest this way, which is no fault of the guest: it ended before the guest ran, or KVM could not go on. */
export class AcceleratorError extends VmapipeError {}

/** With `auto`, tries KVM if this host has it. A KVM that cannot run the guest, as in some virtual machines, is no reason to give up: it is emulated. */
export async function withAccelerator<T>(
  accel: Accelerator | 'auto' = 'auto',
  warn: (message: string) => void,
  attempt: (accel: Accelerator) => Promise<T>,
  hasKvm = existsSync('/dev/kvm'),
): Promise<T> {
  if (accel !== 'auto') return attempt(accel)
  if (!hasKvm) return attempt('tcg')
  try {
    return await attempt('kvm')
  } catch (error) {
    if (!(error instanceof AcceleratorError)) throw error
    warn(`KVM cannot be used here, so the guest is emulated, which is slow: ${error.message}`)
    return attempt('tcg')
  }
}
