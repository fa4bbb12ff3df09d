/** Reads the manifest of an archive: its drives and config files, from its header alone. */

import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { Findings, isDamage } from '../core/findings.ts'
import type { ClusterItem, Manifest } from '../core/items.ts'
import { checkOptions } from '../core/options.ts'
import { definePipeline } from '../core/pipeline.ts'
import { runOptionsOf } from '../core/run-options.ts'
import { defineStage, z } from '../core/stage.ts'
import { type ReadingOptions, reading, readingShape } from './read-archive.ts'

/**
 * Reads the header, then closes the archive. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     const { drives } = await readManifest({ from: 'vm.vma.zst' })
 *     for (const { name, size } of drives) console.log(name, size, 'bytes')
 */
export async function readManifest(options: ReadingOptions): Promise<Manifest> {
  checkOptions('readManifest', { shape: readingShape, required: ['from'] }, options)
  const enough = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, enough.signal]) : enough.signal
  const findings = new Findings()
  let manifest: Manifest | null = null
  const stop = defineStage({
    name: 'header-only',
    summary: 'ends the run at the first item',
    input: 'clusters',
    output: 'nothing',
    options: z.strictObject({}),
    create: () => ({
      write(item: ClusterItem) {
        if (item.kind === 'manifest') manifest = item
        item.release()
        enough.abort(new VmapipeError('ABORTED', 'the header was read'))
      },
    }),
  })
  try {
    // With findings, damage keeps its place in the stream, so that what is damaged further back does not come before the header.
    await definePipeline([...reading(options, findings), stop()]).run({ ...runOptionsOf(options), signal })
  } catch (error) {
    // Errors behind the header do not matter here.
    if (!enough.signal.aborted) {
      const [first] = findings.damage
      throw asVmapipeError(isDamage(error) && first !== undefined ? first.error : error)
    }
  }
  if (manifest === null) throw new VmapipeError('INCOMPLETE', 'the archive has no header')
  return manifest
}
