/** Writes one drive of an archive as a raw image, in order. */

import { Keyring } from '../codecs/age/keyring.ts'
import { Budget } from '../core/budget.ts'
import { Counters } from '../core/counters.ts'
import { VmapipeError } from '../core/errors.ts'
import { watchProgress } from '../core/meter.ts'
import { bytes, checkOptions, names, placeOrStream, type Shape, text } from '../core/options.ts'
import type { RunOptions } from '../core/pipeline.ts'
import { DEFAULT_BUDGET, runShape } from '../core/run-options.ts'
import { z } from '../core/stage.ts'
import type { ReadableLike, WritableLike } from '../core/stream-kinds.ts'
import { archiveTarget } from '../storage/archive/target.ts'
import { openArchive } from './open-archive.ts'

/** Which bytes are written, and where to. */
export interface CatOptions extends RunOptions {
  /** A path, `-`, `ssh://user@host/path`, `exec:COMMAND`, or a stream of Node or the web. */
  from: string | ReadableLike
  /** The name of the drive in the archive. */
  drive: string
  /** The target of the image: a path, a stream of Node or the web, or `-` (the default). */
  to?: string | WritableLike
  /** The first byte; 0 by default. */
  offset?: number
  /** The number of bytes; all that follow by default. */
  length?: number
  /** Folders and archives where the parents of an incremental archive are looked for, before its own folder. */
  parents?: string[]
  /** The folder for unpacked drives, if the archive can only be read once. */
  spool?: string
  /** What opens the archive if it is encrypted. */
  keys?: Keyring
}

const shape = {
  ...runShape,
  from: placeOrStream,
  drive: text,
  to: placeOrStream,
  offset: bytes,
  length: bytes,
  parents: names,
  spool: text,
  keys: z.instanceof(Keyring),
} satisfies Shape<CatOptions>

/**
 * Writes the bytes of one drive of an archive, in order.
 * Resolves with the number of bytes that were written. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     const bytes = await cat({ from: 'vm.vma.zst', drive: 'drive-scsi0', to: 'mbr.bin', length: 512 })
 *     console.log(bytes)
 */
export async function cat(given: CatOptions): Promise<number> {
  checkOptions('cat', { shape, required: ['from', 'drive'] }, given)
  const { from, drive, to = '-', offset = 0, length, ...options } = given
  const { buffer = DEFAULT_BUDGET, counters = new Counters(), signal, threads, spool, parents, keys, warn } = options
  const target = archiveTarget(to, options)
  await target.open()
  const endWatch = options.onProgress && watchProgress(counters, options.onProgress)
  try {
    const archive = await openArchive(from, {
      threads,
      spool,
      parents,
      keys,
      signal,
      warn,
      counters,
      budget: new Budget(buffer),
      only: [drive],
    })
    try {
      const image = archive.drive(drive)
      const amount = wanted(image.size, drive, offset, length)
      counters.set('total', amount)
      counters.set('done', 0)
      for await (const chunk of image.chunks(offset, amount)) {
        try {
          signal?.throwIfAborted()
          await target.write(chunk.buffers)
        } finally {
          chunk.release()
        }
        counters.add('done', chunk.byteLength)
        counters.add('written', chunk.byteLength)
      }
      await target.finish()
      return amount
    } finally {
      await archive.close()
    }
  } finally {
    endWatch?.()
    await target.abort()
  }
}

/** Checks the range. Returns the number of bytes to write. */
function wanted(size: number, drive: string, offset: number, length = size - offset): number {
  if (offset <= size && length >= 0 && offset + length <= size) return length
  const range = `bytes ${offset} to ${offset + length}`
  throw new VmapipeError('USAGE', `the drive has ${size} bytes, and not ${range}`, { drive })
}
