/** Writes the bytes of an archive to a file, a stream, another host or a command. It is the last stage of a backup. */

import { defineStage, z } from '../core/stage.ts'
import { isWritableLike, type WritableLike } from '../core/stream-kinds.ts'
import { hasName, mediumOf } from '../storage/archive/spec.ts'
import { archiveTarget } from '../storage/archive/target.ts'
import { ArchiveSink } from './sink/archive-sink.ts'
import { objectShape } from './sink/object-shape.ts'

/**
 * Writes bytes to a file, a stream, another host or a command. A file gets its name when it is durable. Errors: USAGE, FAILED.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), sink({ to: 'ssh://backup@nas/srv/vm.vma' })]).run()
 */
export const sink = defineStage({
  name: 'sink',
  summary: 'writes an archive to a file, standard output (-), ssh://, s3://, or a command (exec:)',
  input: 'bytes',
  output: 'nothing',
  options: z.strictObject({
    to: z
      .union([z.string(), z.custom<WritableLike>(isWritableLike)], {
        error: 'expected a path, "-", "ssh://...", "s3://...", "exec:..." or a writable stream of Node or the web',
      })
      .describe(
        'a path, "-" for standard output, ssh://[user@]host[:port]/path, s3://bucket/name, exec:COMMAND, or a writable stream of Node or the web',
      ),
    force: z.boolean().default(false).describe('overwrite an existing file'),
    object: objectShape.optional().describe('what an object of a store (s3://) gets besides its bytes'),
  }),
  medium: ({ to }) => mediumOf(to),
  destination: ({ to, force }) => (typeof to === 'string' && hasName(to) ? { place: to, force } : undefined),
  create({ to, force, object }, context) {
    const { signal, warn, budget, counters } = context
    const expected = () => counters.get('total')
    return new ArchiveSink(archiveTarget(to, { force, object, signal, warn, budget, expected }), context)
  },
})
