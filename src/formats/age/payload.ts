/**
 * The payload of an age file: a nonce, then chunks of 64 KiB, each sealed by ChaCha20-Poly1305. The position of a chunk and whether
 * it is the last one are in its nonce, so that a chunk can be opened by itself, and cuts and exchanges are noticed
 * (C2SP age-encryption.org/v1, section "Payload").
 */

import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'

const CIPHER = 'chacha20-poly1305'

/** Bytes of content in every chunk but the last. */
export const CHUNK = 65536
/** Bytes that authenticate a chunk, behind its content. */
export const TAG = 16
/** Bytes of every sealed chunk but the last. */
export const SEALED = CHUNK + TAG
/** Bytes in front of the first chunk. */
export const PAYLOAD_NONCE = 16

/** The key of the payload, from the key of the file and the payload's nonce. */
export function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32))
}

/** Seals a chunk in place: `bytes` is its content, and room for the tag behind it. */
export function sealChunk(key: Uint8Array, index: number, isLast: boolean, bytes: Uint8Array): void {
  const cipher = createCipheriv(CIPHER, key, nonceOf(index, isLast), { authTagLength: TAG })
  const content = bytes.subarray(0, -TAG)
  content.set(cipher.update(content))
  cipher.final()
  bytes.set(cipher.getAuthTag(), content.length)
}

/** Opens a sealed chunk in place. Returns false, and leaves `bytes` sealed, if it is not this chunk of this file. */
export function openChunk(key: Uint8Array, index: number, isLast: boolean, bytes: Uint8Array): boolean {
  const decipher = createDecipheriv(CIPHER, key, nonceOf(index, isLast), { authTagLength: TAG })
  decipher.setAuthTag(bytes.subarray(-TAG))
  const content = decipher.update(bytes.subarray(0, -TAG))
  try {
    decipher.final()
  } catch {
    return false
  }
  bytes.set(content)
  return true
}

/** 11 bytes with the number of the chunk, and one that is 1 for the last chunk. */
function nonceOf(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUIntBE(index, 5, 6)
  nonce[11] = isLast ? 1 : 0
  return nonce
}

/** The number of chunks, and the bytes of content in the last one. */
export interface PayloadShape {
  chunks: number
  lastBytes: number
}

/** The shape of a payload of this size, without its nonce. Throws INCOMPLETE if no payload has this size: the file was cut. */
export function payloadShape(bytes: number, offset: number): PayloadShape {
  const chunks = Math.ceil(bytes / SEALED)
  const lastBytes = bytes - (chunks - 1) * SEALED - TAG
  // Only the single chunk of an empty payload has no content.
  if (chunks === 0 || lastBytes < (chunks === 1 ? 0 : 1)) throw cutShort(offset + bytes)
  return { chunks, lastBytes }
}

export function cutShort(offset: number): VmapipeError {
  return new VmapipeError('INCOMPLETE', 'the encrypted archive ends within a chunk', { offset })
}

/** The content that begins at this byte of an encrypted archive cannot be authenticated. */
export function notAuthentic(offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', 'the encrypted archive was changed, cut or reordered here', { offset })
}
