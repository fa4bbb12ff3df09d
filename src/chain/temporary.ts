/** Makes temporary files of archives that cannot be read in any order where they are. Nobody else can see them. */

import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { Writable } from 'node:stream'
import type { Keyring } from '../codecs/age/keyring.ts'
import { definePipeline } from '../core/pipeline.ts'
import type { BoundStage } from '../core/stage.ts'
import { decompressor } from '../stages/decompressor.ts'
import { decryptor } from '../stages/decryptor.ts'
import { sink } from '../stages/sink.ts'
import { source } from '../stages/source.ts'
import { vmaDeframer } from '../stages/vma-deframer.ts'
import { vmaFramer } from '../stages/vma-framer.ts'
import { makeFolder } from '../storage/folder.ts'
import { namelessFile } from '../storage/nameless-file.ts'
import { writeAll } from '../system/write-all.ts'

export interface TemporaryFile {
  path: string
  close(): Promise<void>
}

export interface TemporaryOptions {
  /** The folder of the file; by default that for temporary files. */
  folder?: string | undefined
  keys?: Keyring | undefined
  threads?: number | undefined
  signal?: AbortSignal | undefined
  buffer: number
  warn: (message: string) => void
}

/** Rewrites an archive without compression and with an index. `why` is the reason, for the message. */
export function rewritten(from: string, why: string, options: TemporaryOptions): Promise<TemporaryFile> {
  const { keys } = options
  return written(`${why}: '${from}' is unpacked`, options, (to) => [
    source({ from }),
    decryptor({ keys }),
    decompressor({}),
    vmaDeframer({}),
    vmaFramer({}),
    sink({ to }),
  ])
}

/** Copies an archive as it is. */
export function fetched(from: string, options: TemporaryOptions): Promise<TemporaryFile> {
  return written(`'${from}' can only be read from front to back: it is copied`, options, (to) => [
    source({ from }),
    sink({ to }),
  ])
}

async function written(
  what: string,
  { folder = tmpdir(), threads, signal, buffer, warn }: TemporaryOptions,
  stages: (to: Writable) => BoundStage[],
): Promise<TemporaryFile> {
  await makeFolder(folder)
  const file: FileHandle = await namelessFile(folder)
  try {
    warn(`${what} into a temporary file in '${folder}' first`)
    await definePipeline(stages(writerOf(file))).run({ warn, signal, threads, buffer })
    return { path: `/proc/self/fd/${file.fd}`, close: () => file.close() }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Writes to the file and leaves it open. A write stream of Node's would close it, whatever `autoClose` says. */
function writerOf(file: FileHandle): Writable {
  return new Writable({
    write(chunk: Buffer, _, done) {
      writeAll(file, [chunk], null).then(() => done(), done)
    },
  })
}
