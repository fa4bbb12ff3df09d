/**
 * The payload of an age file: a nonce, then chunks of 64 KiB, each sealed by ChaCha20-Poly1305. The position of a chunk and whether
 * it is the last one are in its nonce, so that a chunk can be opened by itself, and cuts and exchanges are noticed
 * (C2SP age-encryption.org/v1, section "Payload").
 */

import { hkdfSync } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'

/** As Node names it. */
export const CIPHER = 'chacha20-poly1305'

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

/** The nonce of a chunk: 11 bytes with its number, and one that is 1 for the last chunk. */
export function chunkNonce(index: number, isLast: boolean): Buffer {
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
