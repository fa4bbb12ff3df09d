/** Checks an archive that was just written, by what the disk has of it rather than the page cache. */

import { open, stat } from 'node:fs/promises'
import { VmapipeError } from '../core/errors.ts'
import type { RunOptions } from '../core/pipeline.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { syscalls } from '../storage/syscalls.ts'
import { type VerifyResult, verify } from './verify.ts'

/** Throws USAGE where `to` is no file and will be none, so that it cannot be read back. To be called before it is written. */
export async function refuseUnlessFile(to: string): Promise<void> {
  const place = parsePlace(to)
  const found = place.kind === 'file' ? await stat(place.path).catch(() => null) : null
  if (place.kind === 'file' && (found?.isFile() ?? true)) return
  throw new VmapipeError('USAGE', `only an archive in a file can be read back, and ${to} is none`, {
    hint: 'verify it where it arrives: vmapipe verify',
  })
}

/** Resolves where the archive at this path is whole. Errors: those of `verify`. */
export async function readBack(path: string, options: RunOptions): Promise<VerifyResult> {
  const file = await open(path)
  try {
    // It was synced before it got its name; not every filesystem heeds this.
    await syscalls()?.dontNeed(file.fd)
  } finally {
    await file.close()
  }
  return verify({ ...options, from: path })
}
