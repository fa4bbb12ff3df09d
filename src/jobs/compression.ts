/** Which compression a backup takes: said by the user (`zstd:3`), or told from the archive's name. */

import { VmapipeError } from '../core/errors.ts'

export const METHODS = ['zstd', 'lz4', 'gzip', 'none'] as const
export type Method = (typeof METHODS)[number]

export interface Compression {
  method: Method
  /** As the method counts; its default where it is left out. */
  level?: number
}

const SUFFIXES: Record<string, Method> = { '.vma': 'none', '.vma.zst': 'zstd', '.vma.lz4': 'lz4', '.vma.gz': 'gzip' }

/** `zstd`, `zstd:19`, `zstd:-5`; USAGE where it is none of them. Which levels there are is the compressor's to check. */
export function parseCompression(text: string): Compression {
  const [, method, level] = /^([a-z0-9]+)(?::(-?\d{1,3}))?$/.exec(text) ?? []
  if (!METHODS.includes(method as Method) || (level !== undefined && (method === 'none' || method === 'lz4'))) {
    throw new VmapipeError('USAGE', `'${text}' is no compression`, {
      hint: 'there are zstd, zstd:LEVEL, lz4, gzip, gzip:LEVEL and none',
    })
  }
  return { method: method as Method, ...(level !== undefined && { level: Number(level) }) }
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
