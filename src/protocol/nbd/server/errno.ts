import * as nbd from '../constants.ts'

const ERRNOS: Record<string, number> = {
  EPERM: nbd.EPERM,
  EACCES: nbd.EPERM,
  EROFS: nbd.EPERM,
  ENOMEM: nbd.ENOMEM,
  EINVAL: nbd.EINVAL,
  ENOSPC: nbd.ENOSPC,
  EDQUOT: nbd.ENOSPC,
  EFBIG: nbd.ENOSPC,
  EOVERFLOW: nbd.EOVERFLOW,
  ENOTSUP: nbd.ENOTSUP,
  EOPNOTSUPP: nbd.ENOTSUP,
  ESHUTDOWN: nbd.ESHUTDOWN,
}

/** Causes of causes that are looked at. */
const MAX_DEPTH = 5

/** "Error values" of doc/proto.md for whatever a disk throws; what it does not say more about is EIO. */
export function errnoOf(error: unknown): number {
  let current = error as { code?: unknown; cause?: unknown } | null | undefined
  for (let depth = 0; depth < MAX_DEPTH && typeof current === 'object' && current !== null; depth++) {
    const errno = typeof current.code === 'string' ? ERRNOS[current.code] : undefined
    if (errno !== undefined) return errno
    current = current.cause as typeof current
  }
  return nbd.EIO
}
