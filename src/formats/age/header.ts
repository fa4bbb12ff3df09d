/**
 * The header of an age file: lines of text that have the file's key, wrapped for each recipient (C2SP age-encryption.org/v1,
 * section "Header"). This finds the header's end and its recipients. The keys are the library's work (codecs/age/).
 */

import { VmapipeError } from '../../core/errors.ts'

/** The first line, with its end. Every age file begins with it. */
export const AGE_MAGIC = Buffer.from('age-encryption.org/v1\n')
const ARMOR = Buffer.from('-----BEGIN AGE ENCRYPTED FILE-----')

/** A header of about a thousand recipients fits into it; one of a post-quantum recipient takes 1.6 KiB. */
export const LONGEST_HEADER = 1 << 20

/** What a header says without a key. */
export interface AgeHeader {
  /** Bytes of the header. The payload's nonce follows. */
  length: number
  /** The kind of each recipient, such as X25519 or scrypt, in order. */
  recipients: string[]
}

/** Whether a file that begins with these bytes is encrypted with age; undefined if they are too few to tell. */
export function isAge(start: Uint8Array): boolean | undefined {
  const length = Math.min(start.length, AGE_MAGIC.length)
  if (!AGE_MAGIC.subarray(0, length).equals(start.subarray(0, length))) return false
  return length === AGE_MAGIC.length ? true : undefined
}

/** Throws USAGE for an age file in text form, which is three quarters as dense, and not made for archives. */
export function refuseArmor(start: Uint8Array): void {
  if (start.length < ARMOR.length || !ARMOR.equals(start.subarray(0, ARMOR.length))) return
  throw new VmapipeError('USAGE', 'the archive is encrypted with age in its text form (armor)', {
    hint: 'decrypt it first: age -d -i KEY FILE',
  })
}

/** Reads the header at the beginning of a file; null if `start` ends before the header does. Throws DAMAGED. */
export function readAgeHeader(start: Uint8Array): AgeHeader | null {
  const text = Buffer.from(start.buffer, start.byteOffset, Math.min(start.length, LONGEST_HEADER)).toString('latin1')
  // The MAC is the only line that begins like this: 43 characters of base64.
  const end = /^--- [A-Za-z0-9+/]{43}\n/m.exec(text)
  if (end === null) {
    if (start.length < LONGEST_HEADER) return null
    throw new VmapipeError('DAMAGED', `the header of the encrypted archive is longer than ${LONGEST_HEADER} bytes`, {
      offset: 0,
    })
  }
  const recipients = [...text.slice(0, end.index).matchAll(/^-> (\S+)/gm)].map(([, kind]) => kind)
  return { length: end.index + end[0].length, recipients }
}

/** What is wrong if a file ends before its header does. */
export function headerCut(length: number): VmapipeError {
  return new VmapipeError('INCOMPLETE', 'the encrypted archive ends within its header', { offset: length })
}

/** "2 recipients (X25519, ssh-ed25519)", or that it has a passphrase. The kinds are the file's own words: clip them. */
export function recipientsText({ recipients }: AgeHeader): string {
  if (recipients.includes('scrypt')) return 'by a passphrase'
  const kinds = [...new Set(recipients)].map((kind) => kind.replace(/[^\x21-\x7e]/g, '?').slice(0, 20)).slice(0, 5)
  return `for ${recipients.length} recipient${recipients.length === 1 ? '' : 's'} (${kinds.join(', ')})`
}
