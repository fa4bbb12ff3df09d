/** The archives made by the real vma tool, which stand beside the checkout where they are available. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'

const dir = process.env.VMAPIPE_GOLDEN ?? join(import.meta.dirname, '../../../shared/golden')

export interface GoldenArchive {
  configs: string[]
  drives: { devId: number; name: string; input: string; inputSize: number; inputSha256: string }[]
  size: number
  sha256: string
  layout: {
    uuid: string
    ctime: number
    headerSize: number
    configs: { name: string; size: number; sha256: string }[]
    devs: { devId: number; name: string; size: number }[]
    extents: { off: number; size: number; blockCount: number; slotsUsed: number }[]
    order: [devId: number, firstCluster: number, count: number][]
  }
  list: string
  extracted: Record<string, { size: number; sha256: string }>
}

const present = existsSync(join(dir, 'manifest.json'))

/** Options for `test()`: not in CI either, as a checkout may well stand alone. */
export const needsGolden = {
  skip: present ? (false as const) : 'the golden archives are not there (VMAPIPE_GOLDEN names their folder)',
}

/** By name; empty where they are missing. */
export const golden: ReadonlyMap<string, GoldenArchive> = new Map(
  present ? Object.entries(JSON.parse(readFileSync(join(dir, 'manifest.json'), 'utf8')).archives) : [],
) as never

export function goldenPath(name: string): string {
  return join(dir, `${name}.vma.zst`)
}

export function goldenGenerator(): string {
  return join(dir, 'gen-inputs.mjs')
}

/** The archive itself, decompressed. */
export function goldenBytes(name: string): Buffer {
  return zstdDecompressSync(readFileSync(goldenPath(name)))
}
