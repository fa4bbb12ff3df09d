/** Recognises the compression of a stream by its first bytes. File names are not used, because they may be wrong. */

export type Format = 'vma' | 'zstd' | 'lz4' | 'lz4-legacy' | 'skippable' | 'gzip' | 'lzop' | 'bzip2' | 'xz'

/** First bytes in hex; a dot stands for any digit. */
const MAGIC: Record<Format, string> = {
  vma: '564d4100', //                 vma_spec.txt
  zstd: '28b52ffd', //                RFC 8878, section 3.1.1
  lz4: '04224d18', //                 lz4_Frame_format.md, "General Structure of LZ4 Frame format"
  'lz4-legacy': '02214c18', //        the same, "Legacy frame"
  skippable: '5.2a4d18', //           both of these, "Skippable frames"
  gzip: '1f8b', //                    RFC 1952, section 2.3.1
  lzop: '894c5a4f000d0a1a0a', //      what lzop itself writes
  bzip2: '425a683.314159265359', //   what bzip2 writes for a stream that is not empty
  xz: 'fd377a585a00', //              xz-file-format.txt, section 2.1.1.1
}

/** Bytes of the longest magic. */
export const MAGIC_LIMIT = 10

const PATTERNS = Object.entries(MAGIC).map(([format, hex]) => ({ format: format as Format, hex }))

/** The first bytes of every frame of this format. */
export function magicOf(format: Exclude<Format, 'skippable' | 'bzip2'>): Buffer {
  return Buffer.from(MAGIC[format], 'hex')
}

/** The format of a stream or frame that begins with these bytes; undefined if it is none of these or too short to tell. */
export function recognise(start: Uint8Array): Format | undefined {
  const digits = Buffer.from(start).toString('hex')
  return PATTERNS.find(({ hex }) => digits.length >= hex.length && matches(digits, hex))?.format
}

/** Whether these bytes, which are too few to tell, could be the beginning of one of `formats`. */
export function couldBecome(
  start: Uint8Array,
  formats: readonly Format[] = PATTERNS.map(({ format }) => format),
): boolean {
  const digits = Buffer.from(start).toString('hex')
  return formats.some((format) => digits.length < MAGIC[format].length && matches(digits, MAGIC[format]))
}

function matches(digits: string, hex: string): boolean {
  const length = Math.min(digits.length, hex.length)
  for (let index = 0; index < length; index++) {
    if (hex[index] !== '.' && hex[index] !== digits[index]) return false
  }
  return true
}
