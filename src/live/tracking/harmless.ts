/** Tells which errors of a durable change have lost nothing that was written before it. */

import { VmapipeError } from '../../core/errors.ts'

const HARMLESS = ['ENOSPC', 'EDQUOT', 'EFBIG', 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP']

export function isHarmless(error: unknown): boolean {
  const { code, cause } = Object(error) as { code?: unknown; cause?: unknown }
  return error instanceof VmapipeError && cause !== undefined ? isHarmless(cause) : HARMLESS.includes(String(code))
}
