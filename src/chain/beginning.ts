/** Reads the uuid of an archive from the beginning of its file, compressed or encrypted or not. Little is read, whatever the file is. */

import type { Keyring } from '../codecs/age/keyring.ts'
import { Chunk } from '../core/items.ts'
import { definePipeline } from '../core/pipeline.ts'
import { defineStage, z } from '../core/stage.ts'
import { isAge } from '../formats/age/header.ts'
import { MAGIC_LIMIT, recognise } from '../formats/compression.ts'
import { startUuid } from '../formats/vma/header.ts'
import { decompressor } from '../stages/decompressor.ts'
import { decryptor } from '../stages/decryptor.ts'

/** Bytes of a file that are enough (64 KiB), unless it is encrypted: in an archive of ours, the header is a frame of its own. */
export const BEGINNING = 64 << 10

/** Bytes of a header with the uuid in them. */
const ENOUGH = 24
/** Memory for decoding a beginning. */
const BUFFER = 32 << 20

/** Compressions that are decoded by programs of their own, which is too much for a look at each file of a folder. */
const BY_PROGRAMS = new Set(['bzip2', 'xz'])

/** Whether these first bytes of a file may be those of an archive. */
export function mayBeArchive(start: Buffer): boolean {
  const format = recognise(start.subarray(0, MAGIC_LIMIT))
  return (format !== undefined && !BY_PROGRAMS.has(format)) || isAge(start) === true
}

/** The uuid of the archive that begins with these bytes; null if it is no archive, or if they are too few. */
export async function uuidOfBeginning(start: Buffer, keys?: Keyring): Promise<string | null> {
  const plain = startUuid(start)
  if (plain !== null) return hex(plain)
  if (!mayBeArchive(start) || (isAge(start) && keys === undefined)) return null
  const enough = new AbortController()
  let seen: Buffer = Buffer.alloc(0)
  let found: string | null = null
  const bytes = defineStage({
    name: 'beginning',
    summary: 'gives the beginning of a file',
    input: 'nothing',
    output: 'bytes',
    options: z.strictObject({}),
    create: async function* () {
      yield new Chunk([start])
    },
  })
  const look = defineStage({
    name: 'look',
    summary: 'looks at the first bytes',
    input: 'bytes',
    output: 'nothing',
    options: z.strictObject({}),
    create: () => ({
      write(chunk: Chunk) {
        if (seen.length < ENOUGH) seen = Buffer.concat([seen, ...chunk.buffers.map((part) => part.subarray(0, ENOUGH))])
        chunk.release()
        if (seen.length < ENOUGH) return
        const uuid = startUuid(seen)
        found = uuid && hex(uuid)
        enough.abort()
      },
    }),
  })
  // The beginning ends in the middle of something, so the run always fails.
  const stages = [bytes(), decryptor({ keys }), decompressor({}), look()]
  await definePipeline(stages)
    .run({ buffer: BUFFER, threads: 1, signal: enough.signal })
    .catch(() => {})
  return found
}

export function hex(uuid: Uint8Array): string {
  return Buffer.from(uuid).toString('hex')
}
