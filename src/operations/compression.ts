/** The compression of a backup, from the user's text (`zstd:3`) or from the archive's name. */

import { VmapipeError } from '../core/errors.ts'
import { parseBytes } from '../core/size.ts'

export const METHODS = ['zstd', 'lz4', 'gzip', 'none'] as const
type CompressionMethod = (typeof METHODS)[number]

/** How an archive is compressed. */
export interface Compression {
  method: CompressionMethod
  /** A level of the method; the method's own default if it is left out. */
  level?: number
  /** Bytes of the archive that are decoded together; 4 MiB by default. Fewer make random reads faster and the archive larger. */
  frame?: number
}

const SUFFIXES: Record<string, CompressionMethod> = {
  '.vma': 'none',
  '.vma.zst': 'zstd',
  '.vma.lz4': 'lz4',
  '.vma.gz': 'gzip',
}

/**
 * Reads a text such as `zstd`, `zstd:19`, `zstd:-5` or `lz4,frame=128KiB`. Throws USAGE if it is none of these. The compressor
 * checks the level and the frame.
 */
export function parseCompression(text: string): Compression {
  const [, method, level, size] = /^([a-z0-9]+)(?::(-?\d{1,3}))?(?:,frame=([^,]+))?$/.exec(text) ?? []
  const frame = size === undefined ? undefined : parseBytes(size)
  const isPlain = method === 'none' && (level ?? size) !== undefined
  const isWrong = isPlain || (method === 'lz4' && level !== undefined) || (size !== undefined && frame === undefined)
  if (!METHODS.includes(method as CompressionMethod) || isWrong) {
    throw new VmapipeError('USAGE', `'${text}' is not a compression`, {
      hint: 'write zstd, zstd:LEVEL, lz4, gzip, gzip:LEVEL or none; ,frame=128KiB may follow',
    })
  }
  return {
    method: method as CompressionMethod,
    ...(level !== undefined && { level: Number(level) }),
    ...(frame !== undefined && { frame }),
  }
}

/** Chooses by the suffix of a path or an ssh:// URL. A pipe (`-`, `exec:`) gets no compression. Throws USAGE for an unknown suffix. */
export function compressionOf(target: string): Compression {
  if (target === '-' || target.startsWith('exec:')) return { method: 'none' }
  const inner = target.replace(/\.age$/, '').replace(/\.vmi(?=$|\.[a-z0-9]+$)/, '.vma')
  const suffix = Object.keys(SUFFIXES).find((ending) => inner.endsWith(ending))
  if (suffix !== undefined) return { method: SUFFIXES[suffix] }
  throw new VmapipeError('USAGE', `the name '${target}' does not tell the compression`, {
    hint: `end it in ${Object.keys(SUFFIXES).join(', ')}, or say --compress zstd, lz4, gzip or none`,
  })
}
