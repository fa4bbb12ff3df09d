/** The beginning of a restore: reads an archive's bytes from where they are. */

import { Readable } from 'node:stream'
import { defineStage, z } from '../core/stage.ts'
import { archiveSource } from '../storage/archive/source.ts'

/** In pieces of a sixteenth of this the largest extent still fits, wherever it begins: an archive that is not compressed waits in our pieces. */
const LEAST_MEMORY = 4 << 20

export const source = defineStage({
  name: 'source',
  summary: 'reads an archive from a file, standard input (-), ssh://, or a command (exec:)',
  input: 'nothing',
  output: 'bytes',
  options: z.strictObject({
    from: z
      .union([z.string(), z.custom<Readable>((value) => value instanceof Readable)], {
        error: 'expected a path, "-", "ssh://...", "exec:..." or a readable Node stream',
      })
      .describe(
        'a path, "-" for standard input, ssh://[user@]host[:port]/path, exec:COMMAND, or a readable Node stream',
      ),
  }),
  create({ from }, { budget, counters, signal, warn, atEnd }) {
    const archive = archiveSource(from, { budget, signal, warn, atEnd })
    return {
      async open() {
        // Other stages have taken their parts by now.
        budget.require(LEAST_MEMORY, 'reading an archive')
        await archive.open()
        if (archive.size !== undefined) counters.set('total', archive.size)
      },
      async read() {
        const chunk = await archive.read()
        counters.add('read', chunk?.byteLength ?? 0)
        // Of a stream nobody knows how long it is; whoever does may count for itself.
        if (archive.size !== undefined) counters.add('done', chunk?.byteLength ?? 0)
        return chunk
      },
      close: () => archive.close(),
    }
  },
})
