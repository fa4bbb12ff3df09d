/** A process that copies an archive: copy.ts FROM TO [force]. Tests kill it, and look at what it prints and returns. */

import { VmapipeError } from '../../../src/core/errors.ts'
import { definePipeline } from '../../../src/core/pipeline.ts'
import { sink } from '../../../src/stages/sink.ts'
import { source } from '../../../src/stages/source.ts'

const [from, to, force] = process.argv.slice(2)
const controller = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => controller.abort(new VmapipeError('ABORTED', `ended by ${signal}`)))
}
try {
  const pipeline = definePipeline([source({ from }), sink({ to, force: force === 'force' })])
  await pipeline.run({
    signal: controller.signal,
    warn: (line, stage) => process.stderr.write(`warning ${stage}: ${line}\n`),
  })
} catch (error) {
  if (!(error instanceof VmapipeError)) throw error
  process.stderr.write(`${error.line}\n`)
  process.exitCode = error.exitCode
}
