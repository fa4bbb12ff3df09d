/**
 * Opens and closes the header of an age file: who can read it. Wrapping keys is the work of the library of age's author, which is
 * loaded only if something is encrypted.
 */

import { open } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { type AgeHeader, recipientsText } from '../../formats/age/header.ts'
import { PAYLOAD_NONCE } from '../../formats/age/payload.ts'

/** Who can read what is encrypted: recipients, or those that know a passphrase. */
export interface Recipients {
  /** `age1…`, `age1pq1…`. */
  recipients?: readonly string[]
  /** Paths of files with a recipient in each line. */
  recipientsFiles?: readonly string[]
  /** Asks for the passphrase. */
  passphrase?: () => Promise<string>
}

/** What opens encrypted archives. */
export interface Identities {
  /** Paths of files with secret keys, as age-keygen writes them. */
  identities?: readonly string[]
  /** Asks for the passphrase, if the archive has one. */
  passphrase?: () => Promise<string>
}

/** A new header with its file's key, and the nonce of the payload. */
export interface NewHeader {
  /** The header and the nonce. */
  bytes: Buffer
  fileKey: Uint8Array
  nonce: Buffer
}

/** Files of keys are a line each; one that is larger is something else. */
const LARGEST_FILE = 1 << 20

/** Makes a header for these recipients. Errors: USAGE for recipients that cannot be used, FAILED for files that cannot be read. */
export async function makeHeader({
  recipients = [],
  recipientsFiles = [],
  passphrase,
}: Recipients): Promise<NewHeader> {
  const listed = await Promise.all(recipientsFiles.map((path) => linesOf(path, 'recipients')))
  const all = [...recipients.map((text) => ({ text, place: 'the recipient' })), ...listed.flat()]
  if (all.length === 0 && passphrase === undefined) {
    throw new VmapipeError('USAGE', 'nobody could read the encrypted archive', {
      hint: 'name a recipient (age1…), a file of recipients, or a passphrase',
    })
  }
  if (all.length > 0 && passphrase !== undefined) {
    throw new VmapipeError('USAGE', 'an archive has recipients or a passphrase, not both', { hint: 'choose one' })
  }
  const { Encrypter } = await import('age-encryption')
  const encrypter = new Encrypter()
  let fileKey: Uint8Array | null = null
  const words = await passphrase?.()
  if (words !== undefined) {
    if (words === '') throw new VmapipeError('USAGE', 'the passphrase is empty', { hint: 'give one' })
    encrypter.setPassphrase(words)
  }
  for (const { text, place } of all) add(text, place)
  if (words === undefined) encrypter.addRecipient({ wrapFileKey: (key) => keep(key) })
  const file = Buffer.from(await encrypter.encrypt(new Uint8Array(0)))
  return words === undefined ? split(file, fileKey!) : reopen(file, words)

  function add(text: string, place: string): void {
    if (!/^age1[0-9a-z]+$/.test(text)) throw unusable(text, place)
    try {
      encrypter.addRecipient(text)
    } catch {
      throw unusable(text, place)
    }
  }
  /** The library tells the key to every recipient; this one needs no stanza. */
  function keep(key: Uint8Array): [] {
    fileKey = Uint8Array.from(key)
    return []
  }
}

/** An encrypted empty file is a header, a nonce and a tag. */
function split(file: Buffer, fileKey: Uint8Array): NewHeader {
  const bytes = file.subarray(0, -16)
  return { bytes, fileKey, nonce: bytes.subarray(-PAYLOAD_NONCE) }
}

/** A file with a passphrase has no other recipient, so its key is found by opening it. */
async function reopen(file: Buffer, passphrase: string): Promise<NewHeader> {
  const { Decrypter } = await import('age-encryption')
  const decrypter = new Decrypter()
  decrypter.addPassphrase(passphrase)
  return split(file, await decrypter.decryptHeader(file.subarray(0, -16 - PAYLOAD_NONCE)))
}

/** The key of the file with this header. Errors: USAGE if nothing given opens it, DAMAGED if the header was changed, FAILED. */
export async function unlock(header: AgeHeader, bytes: Uint8Array, given: Identities): Promise<Uint8Array> {
  const { identities = [], passphrase } = given
  const isByPassphrase = header.recipients.includes('scrypt')
  const files = isByPassphrase ? [] : await Promise.all(identities.map((path) => linesOf(path, 'identities')))
  const { Decrypter } = await import('age-encryption')
  const decrypter = new Decrypter()
  for (const { text, place } of files.flat()) {
    try {
      decrypter.addIdentity(text)
    } catch {
      throw unusableIdentity(text, place)
    }
  }
  if (isByPassphrase ? passphrase === undefined : files.length === 0) throw locked(header)
  if (isByPassphrase) decrypter.addPassphrase(await passphrase!())
  try {
    return await decrypter.decryptHeader(bytes.subarray(0, header.length))
  } catch (error) {
    throw refused(error, header, isByPassphrase)
  }
}

function locked(header: AgeHeader): VmapipeError {
  const hint = header.recipients.includes('scrypt')
    ? 'give the passphrase: --passphrase asks for it, --passphrase-fd reads it'
    : 'name the file with the secret key: --identity FILE, or VMAPIPE_IDENTITY_FILE'
  return new VmapipeError('USAGE', `the archive is encrypted ${recipientsText(header)}`, { hint })
}

function refused(error: unknown, header: AgeHeader, isByPassphrase: boolean): VmapipeError {
  const { message } = error as Error
  if (message.startsWith('no identity matched')) {
    const what = isByPassphrase ? 'the passphrase does not open it' : 'none of the identities opens it'
    return new VmapipeError('USAGE', `the archive is encrypted ${recipientsText(header)}, and ${what}`, {
      hint: isByPassphrase ? 'check the passphrase' : 'name the file with the right secret key',
    })
  }
  return new VmapipeError('DAMAGED', `the header of the encrypted archive is damaged (${message})`, { offset: 0 })
}

interface Line {
  text: string
  /** For messages, which never show the line itself. */
  place: string
}

async function linesOf(path: string, what: string): Promise<Line[]> {
  const text = await readSmall(path)
  const lines = text
    .split(/\r?\n/)
    .map((line, index) => ({ text: line.trim(), place: `line ${index + 1} of '${path}'` }))
  const used = lines.filter((line) => line.text !== '' && !line.text.startsWith('#'))
  if (used.length > 0) return used
  throw new VmapipeError('USAGE', `'${path}' has no ${what}`, { hint: 'age-keygen makes a file with a key' })
}

async function readSmall(path: string): Promise<string> {
  try {
    const file = await open(path)
    try {
      const bytes = Buffer.alloc(LARGEST_FILE + 1)
      let filled = 0
      for (;;) {
        const { bytesRead } = await file.read(bytes, filled, bytes.length - filled)
        filled += bytesRead
        if (filled > LARGEST_FILE) throw new VmapipeError('USAGE', `'${path}' is too large for a file of keys`)
        if (bytesRead === 0) return bytes.toString('utf8', 0, filled)
      }
    } finally {
      await file.close()
    }
  } catch (error) {
    throw asVmapipeError(error, { file: path })
  }
}

const KINDS = 'age1… (X25519) and age1pq1… (post-quantum) can be used'

function unusable(text: string, place: string): VmapipeError {
  if (text.startsWith('AGE-SECRET-KEY-')) {
    return new VmapipeError('USAGE', `${place} is a secret key, and a recipient is a public one`, {
      hint: 'age-keygen -y shows the public key',
    })
  }
  if (text.startsWith('ssh-')) {
    return new VmapipeError('USAGE', `${place} is an ssh key, which cannot be used here`, { hint: KINDS })
  }
  const shown = place === 'the recipient' ? `the recipient '${text}'` : place
  return new VmapipeError('USAGE', `${shown} is not a recipient`, { hint: KINDS })
}

function unusableIdentity(text: string, place: string): VmapipeError {
  const hint = 'AGE-SECRET-KEY-1… and AGE-SECRET-KEY-PQ-1… can be used, as age-keygen writes them'
  const what = text.startsWith('age-encryption.org/')
    ? 'begins a file of keys that is encrypted itself; decrypt it first'
    : text.startsWith('age1')
      ? 'is a public key, and reading needs the secret one'
      : 'is not a secret key of age'
  return new VmapipeError('USAGE', `${place} ${what}`, { hint })
}
