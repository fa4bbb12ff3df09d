/** Encodes and decodes the header of skippable frames (RFC 8878, section 3.1.2), which zstd and LZ4 share. Decoders pass over them. */

/** The magic number of our skippable frames. Its last hexadecimal digit is free to choose. */
export const SKIPPABLE_MAGIC = Buffer.from('562a4d18', 'hex')
/** Magic number and length. */
export const SKIPPABLE_HEADER_SIZE = 8

export function encodeSkippableHeader(contentBytes: number): Buffer {
  const header = Buffer.alloc(SKIPPABLE_HEADER_SIZE)
  SKIPPABLE_MAGIC.copy(header)
  header.writeUInt32LE(contentBytes, 4)
  return header
}

/** Bytes of the frame that begins with this header, header included. */
export function skippableLength(header: Buffer): number {
  return SKIPPABLE_HEADER_SIZE + header.readUInt32LE(4)
}
