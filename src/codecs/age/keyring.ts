/** Keeps what opens encrypted archives: the files of secret keys, and the passphrase once it is known. */

import { type AgeHeader, headerCut, isAge, LONGEST_HEADER, readAgeHeader } from '../../formats/age/header.ts'
import { PAYLOAD_NONCE, payloadKey } from '../../formats/age/payload.ts'
import { unlock } from './keys.ts'
import { passphraseFrom } from './passphrase.ts'

/** What opens encrypted archives. */
export interface KeyringOptions {
  /** Paths of files with secret keys, as age-keygen writes them. By default the file that VMAPIPE_IDENTITY_FILE names. */
  identities?: readonly string[]
  /** The file descriptor that has the passphrase. Without it, a passphrase is asked for at the terminal. */
  passphraseFd?: number
}

/** A payload that can be opened. */
export interface OpenedHeader {
  key: Buffer
  /** Bytes before the first chunk. */
  start: number
}

/**
 * What opens archives that are encrypted with age. A job reads an archive several times, and asks for a passphrase once.
 *
 *     await verify({ from: 'vm.vma.zst.age', keys: new Keyring({ identities: ['key.txt'] }) })
 */
export class Keyring {
  readonly #identities: readonly string[]
  readonly #ask: () => Promise<string>
  #passphrase: Promise<string> | null = null
  /** The keys of files, by their headers: a passphrase takes a second of computing. */
  readonly #known = new Map<string, Promise<Uint8Array>>()

  constructor({ identities = [], passphraseFd }: KeyringOptions = {}) {
    const { VMAPIPE_IDENTITY_FILE: fallback } = process.env
    this.#identities = identities.length > 0 || !fallback ? identities : [fallback]
    this.#ask = passphraseFrom({ fd: passphraseFd })
  }

  /** Opens the payload behind this header, whose nonce is in `start` too. Errors: USAGE without the right key, DAMAGED, FAILED. */
  async open(header: AgeHeader, start: Uint8Array): Promise<OpenedHeader> {
    const text = Buffer.from(start.subarray(0, header.length)).toString('latin1')
    let fileKey = this.#known.get(text)
    if (fileKey === undefined) {
      fileKey = unlock(header, start, { identities: this.#identities, passphrase: () => this.#words() })
      this.#known.set(text, fileKey)
      fileKey.catch(() => this.#known.delete(text))
    }
    const end = header.length + PAYLOAD_NONCE
    return { key: payloadKey(await fileKey, start.subarray(header.length, end)), start: end }
  }

  #words(): Promise<string> {
    this.#passphrase ??= this.#ask()
    return this.#passphrase
  }
}

/** A file that can be read anywhere. */
interface Readable {
  readonly size: number
  read(buffer: Uint8Array, offset: number): Promise<void>
}

/** The header at the beginning of a file, and the bytes up to the payload; null if it is not encrypted. Throws DAMAGED, INCOMPLETE. */
export async function headerOf(file: Readable): Promise<{ header: AgeHeader; start: Buffer } | null> {
  for (let bytes = 4096; ; bytes *= 16) {
    const start = Buffer.alloc(Math.min(bytes, file.size, LONGEST_HEADER + PAYLOAD_NONCE))
    await file.read(start, 0)
    if (isAge(start) !== true) return null
    const header = readAgeHeader(start)
    if (header !== null && start.length >= header.length + PAYLOAD_NONCE) return { header, start }
    if (start.length < bytes) throw headerCut(start.length)
  }
}
