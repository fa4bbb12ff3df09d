/** Which compression a backup takes: said by the user (`zstd:3`), or told from the archive's name. */

import { VmapipeError } from '../core/errors.ts'
import { parseBytes } from '../core/size.ts'

export const METHODS = ['zstd', 'lz4', 'gzip', 'none'] as const
type Method = (typeof METHODS)[number]

export interface Compression {
  method: Method
  /** As the method counts; its default where it is left out. */
  level?: number
  /** Bytes of the archive that are decoded together: fewer make random reads faster and the archive larger. 1 MiB where it is left out. */
  frame?: number
}

const SUFFIXES: Record<string, Method> = { '.vma': 'none', '.vma.zst': 'zstd', '.vma.lz4': 'lz4', '.vma.gz': 'gzip' }

/**
 * `zstd`, `zstd:19`, `zstd:-5`, `lz4,frame=128KiB`; USAGE where it is none of them. Which levels and frames there are is the
 * compressor's to check.
 */
export function parseCompression(text: string): Compression {
  const [, method, level, size] = /^([a-z0-9]+)(?::(-?\d{1,3}))?(?:,frame=([^,]+))?$/.exec(text) ?? []
  const frame = size === undefined ? undefined : parseBytes(size)
  const isPlain = method === 'none' && (level ?? size) !== undefined
  const isWrong = isPlain || (method === 'lz4' && level !== undefined) || (size !== undefined && frame === undefined)
  if (!METHODS.includes(method as Method) || isWrong) {
    throw new VmapipeError('USAGE', `'${text}' is no compression`, {
      hint: 'there are zstd, zstd:LEVEL, lz4, gzip, gzip:LEVEL and none; behind them there may be ,frame=128KiB',
    })
  }
  return {
    method: method as Method,
    ...(level !== undefined && { level: Number(level) }),
    ...(frame !== undefined && { frame }),
  }
}

/** By the suffix of a path or an ssh:// URL; a pipe (`-`, `exec:`) gets no compression. USAGE where the suffix is not known. */
export function compressionOf(target: string): Compression {
  if (target === '-' || target.startsWith('exec:')) return { method: 'none' }
  const suffix = Object.keys(SUFFIXES).find((ending) => target.endsWith(ending))
  if (suffix !== undefined) return { method: SUFFIXES[suffix] }
  throw new VmapipeError('USAGE', `the name '${target}' does not tell the compression`, {
    hint: `end it in ${Object.keys(SUFFIXES).join(', ')}, or say --compress zstd, lz4, gzip or none`,
  })
}
