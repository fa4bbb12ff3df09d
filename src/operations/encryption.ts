/** Tells what can be known of an encrypted archive without its key. */

import { headerOf } from '../codecs/age/keyring.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { recipientsText } from '../formats/age/header.ts'
import { PAYLOAD_NONCE, payloadShape } from '../formats/age/payload.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { OnlyInOrder } from '../storage/archive/ssh-bytes.ts'
import { openArchiveBytes } from '../storage/archive/volumes/volume-bytes.ts'

/** An archive whose content is not known. */
export interface SealedArchive {
  /** The kind of each recipient, such as X25519, or scrypt for a passphrase. */
  recipients: string[]
  /** "for 2 recipients (X25519)" or "by a passphrase". */
  text: string
  /** Bytes of the encrypted file. */
  size: number
}

/** Adds to the error of an archive that no key was given for what its size tells. Throws INCOMPLETE if the archive was cut. */
export async function withWhatSizeTells(error: unknown, from: string): Promise<VmapipeError> {
  const failure = asVmapipeError(error)
  const sealed = failure.code === 'USAGE' ? await sealedArchive(from) : null
  if (sealed === null) return failure
  const message = `${failure.message}; its ${sealed.size} bytes are those of a whole one, and no more can be checked without the key`
  return new VmapipeError('USAGE', message, { hint: failure.hint })
}

/** What can only be read once is not looked at before. */
function nullIfOnlyInOrder(error: unknown): null {
  if (error instanceof OnlyInOrder) return null
  throw error
}

/**
 * What can be known of the archive at this place; null if it is not encrypted, or can only be read once. Errors: INCOMPLETE if its size shows that
 * it was cut, DAMAGED, FAILED.
 */
export async function sealedArchive(from: string): Promise<SealedArchive | null> {
  const place = parsePlace(from)
  if (place.kind === 'stdio' || place.kind === 'exec') return null
  const file = await openArchiveBytes(from).catch(nullIfOnlyInOrder)
  if (file === null) return null
  try {
    const found = await headerOf(file)
    if (found === null) return null
    const { header } = found
    const start = header.length + PAYLOAD_NONCE
    payloadShape(file.size - start, start)
    return { recipients: header.recipients, text: recipientsText(header), size: file.size }
  } catch (error) {
    throw asVmapipeError(error, { file: from })
  } finally {
    await file.close()
  }
}
