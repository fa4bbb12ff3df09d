/** Boots the guest of an archive, and notes beside the archive what came of it: the check, and the picture of the screen. */

import { basename } from 'node:path'
import { VmapipeError } from '../core/errors.ts'
import { type BootOptions, bootArchive } from '../operations/boot/boot-archive.ts'
import { sealedArchive } from '../operations/encryption.ts'
import { besideArchive } from '../storage/archive/names.ts'
import { openPlace } from '../storage/archive/open-place.ts'
import { recordCheck } from './annotations.ts'
import type { Check } from './entry.ts'
import { writeSmall } from './small-file.ts'

/** The picture of the screen, beside the archive. */
const SCREEN = 'boot.png'

export interface CheckedBoot {
  check: Check
  /** The screen at the end, as PNG; null if there was none. */
  screen: Buffer | null
}

/**
 * Resolves with what came of it, also if the guest does not boot; it is noted beside the archive by then. Of an encrypted archive no picture
 * is kept, as it would show what only the key may show. Errors: those of bootArchive, and of writing beside the archive.
 */
export async function checkBoot({ work, ...options }: BootOptions & Pick<Check, 'work'>): Promise<CheckedBoot> {
  const { from } = options
  if (openPlace(from).stat === undefined) {
    throw new VmapipeError('USAGE', `nothing can be kept beside '${from}'`, {
      hint: 'add --no-record, or name an archive in a folder, on another host by ssh://, or in a bucket',
    })
  }
  const { screen, passed, detail, at } = await bootArchive(options)
  const keeps = screen !== null && (await sealedArchive(from)) === null
  const file = besideArchive(from, SCREEN)
  const check: Check = {
    kind: 'boot',
    at,
    passed,
    detail,
    ...(keeps && { file: basename(file) }),
    ...(work && { work }),
  }
  if (keeps) await writeSmall(file, screen)
  await recordCheck(from, check)
  return { check, screen }
}
