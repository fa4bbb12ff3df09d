/** Stages for bytes, to drive one of them alone. */

import { Chunk } from '../../src/core/items.ts'
import { definePipeline, type RunOptions } from '../../src/core/pipeline.ts'
import type { BoundStage } from '../../src/core/stage.ts'
import { bound, itemsOf } from './flow.ts'

type Chunks = Iterable<Uint8Array | Uint8Array[]> | AsyncIterable<Uint8Array | Uint8Array[]>

/** A source of these chunks; what is an array of buffers becomes one chunk. */
export function chunksOf(chunks: Chunks): BoundStage {
  return itemsOf('bytes', each(chunks))
}

async function* each(chunks: Chunks) {
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
export function collectBytes({ onChunk, drop = false }: CollectOptions = {}): Collected {
  const parts: Buffer[] = []
  const write = async (chunk: Chunk) => {
    await onChunk?.(chunk)
    if (!drop) for (const bytes of chunk.buffers) parts.push(Buffer.from(bytes))
    chunk.release()
  }
  const stage = bound({ name: 'collect', input: 'bytes', output: 'nothing', create: () => ({ write }) })
  return { stage, bytes: () => Buffer.concat(parts) }
}

/** What one stage makes of these chunks. */
export async function throughBytes(
  stage: BoundStage,
  chunks: Chunks,
  options?: RunOptions & CollectOptions,
): Promise<Buffer> {
  const output = collectBytes(options)
  await definePipeline([chunksOf(chunks), stage, output.stage]).run(options)
  return output.bytes()
}
