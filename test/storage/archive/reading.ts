import type { ArchiveSource } from '../../../src/storage/archive/endpoint.ts'

/** Bytes in which every place looks different from its neighbours, so that an exchange shows. */
export function numbered(bytes: number): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4)).map((_, index) => Math.imul(index, 0x9e3779b1))
  return Buffer.from(words.buffer, 0, bytes)
}

/** All that a source gives. */
export async function readAll(source: ArchiveSource): Promise<Buffer> {
  const parts: Buffer[] = []
  for (let chunk = await source.read(); chunk !== null; chunk = await source.read()) {
    parts.push(Buffer.concat(chunk.buffers))
    chunk.release()
  }
  return Buffer.concat(parts)
}
