/** A copy into a file that goes on where an earlier one was interrupted. */

import { asVmapipeError } from '../core/errors.ts'
import { Chunk } from '../core/items.ts'
import { formatBytes } from '../core/size.ts'
import { type BoundStage, defineStage, type StageContext, z } from '../core/stage.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { openPlace } from '../storage/archive/open-place.ts'
import { ResumableFile } from '../storage/archive/resumable-file.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { OnlyInOrder } from '../storage/archive/ssh-bytes.ts'

/** Bytes that are read at once, and reads at a time. */
const PIECE = 1 << 20
const IN_FLIGHT = 4
/** Bytes at both ends of what is there that are compared with the archive. */
const COMPARED = 65536

interface Wish {
  from: string
  to: string
  force?: boolean
  signal?: AbortSignal
  warn?: (message: string) => void
  inform?: (text: string, fields?: object) => void
}

/** The two ends of the copy. */
export interface ContinuedCopy {
  source: BoundStage
  sink: BoundStage
  /** Removes what is there, as it is not whole. */
  discard(): Promise<void>
  close(): Promise<void>
}

/** Null if the archive cannot be read in any order, or goes elsewhere than into a file: such a copy begins again. */
export async function continuedCopy({ from, to, force, signal, warn, inform }: Wish): Promise<ContinuedCopy | null> {
  const { ranges } = openPlace(from)
  if (ranges === undefined || parsePlace(to).kind !== 'file') return null
  const bytes = await ranges({ ...(signal && { signal }), ...(warn && { warn }) }).catch((error) => {
    if (error instanceof OnlyInOrder) return null
    throw asVmapipeError(error, { file: from })
  })
  if (bytes === null) return null
  try {
    const file = await ResumableFile.open(to, { force })
    const left = await usable(file, bytes)
    if (left < file.left) await file.clear()
    if (left > 0) inform?.(`${formatBytes(left)} of ${formatBytes(bytes.size)} are there from an interrupted copy`)
    const close = async () => void (await Promise.all([bytes.close(), file.close()]))
    return { source: sourceOf(bytes, file, left), sink: sinkOf(file, left), discard: () => file.discard(), close }
  } catch (error) {
    await bytes.close()
    throw error
  }
}

/** The bytes that are there and belong to this archive: all or none. The check of the copy sees each of them. */
async function usable(file: ResumableFile, bytes: ArchiveBytes): Promise<number> {
  if (file.left === 0 || file.left > bytes.size) return 0
  const length = Math.min(COMPARED, file.left)
  for (const offset of [0, file.left - length]) {
    const [there, wanted] = [Buffer.alloc(length), Buffer.alloc(length)]
    if ((await file.read(there, offset)) < length) return 0
    await bytes.read(wanted, offset)
    if (!there.equals(wanted)) return 0
  }
  return file.left
}

/** Gives the archive: what is there from the file, and the rest from its place. */
function sourceOf(bytes: ArchiveBytes, file: ResumableFile, left: number): BoundStage {
  const create = (_: unknown, { budget, counters }: StageContext) => {
    let next = 0
    const ahead: Promise<Chunk>[] = []
    const piece = async (offset: number, length: number): Promise<Chunk> => {
      const slab = await budget.take(PIECE)
      try {
        const buffer = slab.buffer.subarray(0, length)
        if (offset < left) await file.read(buffer, offset)
        else await bytes.read(buffer, offset)
        return new Chunk([buffer], [slab])
      } catch (error) {
        slab.release()
        throw error
      }
    }
    return {
      open: () => counters.set('total', bytes.size),
      async read() {
        while (ahead.length < IN_FLIGHT && next < bytes.size) {
          // A piece comes from one place.
          const end = Math.min(next + PIECE, next < left ? left : bytes.size)
          const reading = piece(next, end - next)
          reading.catch(() => {})
          ahead.push(reading)
          next = end
        }
        const chunk = (await ahead.shift()) ?? null
        counters.add('done', chunk?.byteLength ?? 0)
        return chunk
      },
      async close() {
        for (const reading of await Promise.allSettled(ahead))
          if (reading.status === 'fulfilled') reading.value.release()
      },
    }
  }
  return stage('source', 'gives the archive', { input: 'nothing', output: 'bytes', create })
}

/** Writes what is not there yet. */
function sinkOf(file: ResumableFile, left: number): BoundStage {
  const create = (_: unknown, { counters }: StageContext) => {
    let passed = 0
    return {
      async write(chunk: Chunk) {
        const isNew = passed >= left
        passed += chunk.byteLength
        try {
          if (!isNew) return
          await file.write(chunk.buffers)
          counters.add('written', chunk.byteLength)
        } finally {
          chunk.release()
        }
      },
      settle: () => file.settle(),
      final: () => file.finish(),
    }
  }
  return stage('sink', 'writes what is missing', { input: 'bytes', output: 'nothing', create })
}

function stage(name: string, summary: string, rest: object): BoundStage {
  return defineStage({ name, summary, options: z.strictObject({}), ...rest } as never)({}) as BoundStage
}
