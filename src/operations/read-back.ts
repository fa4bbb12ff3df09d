/** Checks an archive that was just written. A file is read from the disk and not from the page cache; over ssh and from a store it is read again. */

import { open, stat } from 'node:fs/promises'
import type { Keyring } from '../codecs/age/keyring.ts'
import { VmapipeError } from '../core/errors.ts'
import type { RunOptions } from '../core/pipeline.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { syscalls } from '../system/syscalls.ts'
import { type VerifyResult, verify } from './verify.ts'

/** Throws USAGE if `to` cannot be read back, such as a pipe. Call it before the archive is written. */
export async function refuseUnlessReadable(to: string): Promise<void> {
  const place = parsePlace(to)
  if (place.kind === 'ssh' || place.kind === 's3') return
  const found = place.kind === 'file' ? await stat(place.path).catch(() => null) : null
  if (place.kind === 'file' && (found?.isFile() ?? true)) return
  throw new VmapipeError(
    'USAGE',
    `an archive that goes to ${place.kind === 'exec' ? 'a command' : place.kind === 'stdio' ? 'standard output' : to} cannot be read back`,
    {
      hint: 'verify it where it arrives: vmapipe verify',
    },
  )
}

/** Resolves if the archive there is whole. Errors: those of `verify`. */
export async function readBack(to: string, options: RunOptions & { keys?: Keyring }): Promise<VerifyResult> {
  if (parsePlace(to).kind === 'file') await forget(to)
  return verify({ ...options, from: to })
}

async function forget(path: string): Promise<void> {
  const file = await open(path)
  try {
    // The file was synced before it got its name, so its pages can be dropped. Not every filesystem does that.
    await syscalls()?.dontNeed(file.fd)
  } finally {
    await file.close()
  }
}
