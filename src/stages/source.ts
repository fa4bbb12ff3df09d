/** Reads the bytes of an archive from a file, a stream, another host or a command. It is the first stage of a restore. */

import { defineStage, z } from '../core/stage.ts'
import { isReadableLike, type ReadableLike } from '../core/stream-kinds.ts'
import { archiveSource } from '../storage/archive/source.ts'
import { mediumOf } from '../storage/archive/spec.ts'

/**
 * The least memory, 4 MiB. Bytes of an uncompressed archive stay in this memory until their extent is complete. Pieces have a
 * sixteenth of it, so the largest extent fits wherever it begins.
 */
const LEAST_MEMORY = 4 << 20

/**
 * Reads bytes from a file, a stream, another host or a command. Errors: USAGE, FAILED, INCOMPLETE.
 *
 *     await definePipeline([source({ from: 'ssh://backup@nas/srv/vm.vma' }), sink({ to: 'vm.vma' })]).run()
 */
export const source = defineStage({
  name: 'source',
  summary: 'reads an archive from a file, standard input (-), ssh://, s3://, or a command (exec:)',
  input: 'nothing',
  output: 'bytes',
  options: z.strictObject({
    from: z
      .union([z.string(), z.custom<ReadableLike>(isReadableLike)], {
        error: 'expected a path, "-", "ssh://...", "s3://...", "exec:..." or a readable stream of Node or the web',
      })
      .describe(
        'a path, "-" for standard input, ssh://[user@]host[:port]/path, s3://bucket/name, exec:COMMAND, or a readable stream of Node or the web',
      ),
  }),
  medium: ({ from }) => mediumOf(from),
  create({ from }, { budget, counters, signal, warn, atEnd }) {
    const archive = archiveSource(from, { budget, signal, warn, atEnd })
    return {
      async open() {
        // All stages are made by now, and those that carve parts off the budget have done so.
        budget.require(LEAST_MEMORY, 'reading an archive')
        await archive.open()
        if (archive.size !== undefined) counters.set('total', archive.size)
      },
      async read() {
        const chunk = await archive.read()
        counters.add('read', chunk?.byteLength ?? 0)
        // The length of a stream is not known. A caller that knows it may count `done` itself.
        if (archive.size !== undefined) counters.add('done', chunk?.byteLength ?? 0)
        return chunk
      },
      close: () => archive.close(),
    }
  },
})
