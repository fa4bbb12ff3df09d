/**
 * Seals and opens chunks of a payload in place, with ChaCha20-Poly1305: by libcrypto, which is part of Node and exported by it, through
 * koffi. Node's own cipher gives new memory for each chunk, and with the copy back a chunk takes more than twice as long. It is the fallback if koffi
 * cannot be loaded or Node exports nothing.
 */

import { createCipheriv, createDecipheriv } from 'node:crypto'
import { CIPHER, chunkNonce, TAG } from '../../formats/age/payload.ts'
import { loadKoffi } from '../../system/koffi.ts'
import { native } from '../../system/native.ts'

export interface ChunkCipher {
  /** Seals a chunk in place: `bytes` is its content, and room for the tag behind it. `index` is its number in the payload. */
  seal(key: Uint8Array, index: number, isLast: boolean, bytes: Uint8Array): void
  /** Opens a sealed chunk in place. Returns false, and leaves `bytes` sealed, if it is not this chunk of this file. */
  open(key: Uint8Array, index: number, isLast: boolean, bytes: Uint8Array): boolean
}

/** openssl/evp.h. */
const EVP_CTRL_AEAD_GET_TAG = 0x10
const EVP_CTRL_AEAD_SET_TAG = 0x11

export function chunkCipher(): ChunkCipher {
  return byLibcrypto() ?? byNode
}

/** Null if it cannot be had. */
export const byLibcrypto = native(load)

export const byNode: ChunkCipher = {
  seal(key, index, isLast, bytes) {
    const cipher = createCipheriv(CIPHER, key, chunkNonce(index, isLast), { authTagLength: TAG })
    const content = bytes.subarray(0, -TAG)
    content.set(cipher.update(content))
    cipher.final()
    bytes.set(cipher.getAuthTag(), content.length)
  },
  open(key, index, isLast, bytes) {
    const decipher = createDecipheriv(CIPHER, key, chunkNonce(index, isLast), { authTagLength: TAG })
    decipher.setAuthTag(bytes.subarray(-TAG))
    const content = decipher.update(bytes.subarray(0, -TAG))
    try {
      decipher.final()
    } catch {
      return false
    }
    bytes.set(content)
    return true
  },
}

function load(): ChunkCipher {
  const node = loadKoffi().load(null)
  const makeContext = node.func('void *EVP_CIPHER_CTX_new()')
  const freeContext = node.func('void EVP_CIPHER_CTX_free(void *)')
  const control = node.func('int EVP_CIPHER_CTX_ctrl(void *, int, int, void *)')
  const algorithm = node.func('const void *EVP_chacha20_poly1305()')()
  const given = 'void *, const void *, const void *, const void *, const void *'
  const passes = (way: string) => ({
    begin: node.func(`int EVP_${way}Init_ex(${given})`),
    update: node.func(`int EVP_${way}Update(void *, void *, void *, const void *, int)`),
    finish: node.func(`int EVP_${way}Final_ex(void *, void *, void *)`),
  })
  const [encrypt, decrypt] = [passes('Encrypt'), passes('Decrypt')]
  /** An int that libcrypto writes the length to. */
  const length = new Int32Array(1)

  const checked = (result: number) => {
    if (result !== 1) throw new Error('libcrypto failed')
  }
  /** Applies the cipher to the content, and then does the rest, with the context and the tag. */
  const within = <T>(
    { begin, update }: typeof encrypt,
    key: Uint8Array,
    nonce: Uint8Array,
    bytes: Uint8Array,
    rest: (context: unknown, tag: Uint8Array) => T,
  ): T => {
    const context = makeContext()
    if (context === null) throw new Error('libcrypto failed')
    try {
      const content = bytes.subarray(0, -TAG)
      checked(begin(context, algorithm, null, key, nonce))
      if (content.byteLength > 0) checked(update(context, content, length, content, content.byteLength))
      return rest(context, bytes.subarray(-TAG))
    } finally {
      freeContext(context)
    }
  }
  const cipher: ChunkCipher = {
    seal: (key, index, isLast, bytes) =>
      within(encrypt, key, chunkNonce(index, isLast), bytes, (context, tag) => {
        checked(encrypt.finish(context, tag, length))
        checked(control(context, EVP_CTRL_AEAD_GET_TAG, TAG, tag))
      }),
    open(key, index, isLast, bytes) {
      const nonce = chunkNonce(index, isLast)
      const isAuthentic = within(decrypt, key, nonce, bytes, (context, tag) => {
        checked(control(context, EVP_CTRL_AEAD_SET_TAG, TAG, tag))
        return decrypt.finish(context, tag, length) === 1
      })
      // What was not authentic is sealed again, by the same stream of the cipher. Its tag has stayed.
      if (!isAuthentic) within(encrypt, key, nonce, bytes, () => {})
      return isAuthentic
    },
  }
  if (!agrees(cipher)) throw new Error('libcrypto is not as it should be')
  return cipher
}

/** Whether it seals as Node does, before anything is trusted to it. */
function agrees(cipher: ChunkCipher): boolean {
  const [key, chunk] = [new Uint8Array(32).fill(1), new Uint8Array(100).fill(2)]
  cipher.seal(key, 3, true, chunk)
  return byNode.open(key, 3, true, chunk) && chunk.subarray(0, -TAG).every((byte) => byte === 2)
}
