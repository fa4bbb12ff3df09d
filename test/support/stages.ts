/** Small stages to drive one stage alone. */

import { spawnSync } from 'node:child_process'
import { Chunk } from '../../src/core/items.ts'
import { definePipeline, type RunOptions } from '../../src/core/pipeline.ts'
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

/** What one stage makes of these chunks. */
export async function through(
  stage: BoundStage,
  chunks: Parameters<typeof chunksOf>[0],
  options?: RunOptions & CollectOptions,
): Promise<Buffer> {
  const output = collect(options)
  await definePipeline([chunksOf(chunks), stage, output.stage]).run(options)
  return output.bytes()
}

/** What a program of the system makes of these bytes; throws where it fails. */
export function piped(program: string, args: readonly string[], input: Uint8Array): Buffer {
  const { status, stdout, stderr, error } = spawnSync(program, args, { input, maxBuffer: 1 << 30 })
  if (error) throw error
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${status}: ${stderr}`)
  return stdout
}

/** Text-like and random stretches, the same for the same seed. */
export function halfCompressible(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state >>> 8
  }
  for (let at = 0; at < length; ) {
    const stretch = Math.min(length - at, 1 + (next() & 4095))
    const random = (next() & 1) !== 0
    const word = next() & 0xffff
    for (const end = at + stretch; at < end; at++) bytes[at] = random ? next() : (word >> (at & 3)) & 0x7f
  }
  return bytes
}
