/** Small stages to drive one stage alone. */

import { Chunk } from '../../src/core/items.ts'
import { type BoundStage, defineStage, z } from '../../src/core/stage.ts'

/** A source of these chunks; what is an array of buffers becomes one chunk. */
export function chunksOf(
  chunks: Iterable<Uint8Array | Uint8Array[]> | AsyncIterable<Uint8Array | Uint8Array[]>,
): BoundStage {
  return defineStage({
    name: 'test-source',
    summary: 'chunks of a test',
    input: 'nothing',
    output: 'bytes',
    options: z.strictObject({}),
    create: () => each(chunks),
  })()
}

async function* each(chunks: Iterable<Uint8Array | Uint8Array[]> | AsyncIterable<Uint8Array | Uint8Array[]>) {
  for await (const chunk of chunks) yield new Chunk(Array.isArray(chunk) ? chunk : [chunk])
}

export interface Collected {
  stage: BoundStage
  /** Everything that arrived, in one piece. */
  bytes(): Buffer
}

export interface CollectOptions {
  /** Called for each chunk before it is released; a promise makes the sink slow. */
  onChunk?: (chunk: Chunk) => void | Promise<void>
  /** Do not keep the bytes. */
  drop?: boolean
}

/** A sink that copies what arrives, and releases it. */
export function collect({ onChunk, drop = false }: CollectOptions = {}): Collected {
  const parts: Buffer[] = []
  const stage = defineStage({
    name: 'test-sink',
    summary: 'collects bytes for a test',
    input: 'bytes',
    output: 'nothing',
    options: z.strictObject({}),
    create: () => ({
      async write(chunk: Chunk) {
        await onChunk?.(chunk)
        if (!drop) for (const bytes of chunk.buffers) parts.push(Buffer.from(bytes))
        chunk.release()
      },
    }),
  })()
  return { stage, bytes: () => Buffer.concat(parts) }
}

/** `bytes` in chunks of `size` bytes. */
export function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  const parts: Uint8Array[] = []
  for (let from = 0; from < bytes.length; from += size) parts.push(bytes.subarray(from, from + size))
  return parts
}
