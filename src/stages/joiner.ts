/** Reads the volumes that `splitter` or split(1) has written, as one archive. `source` reads them too; this stage reads nothing else. */

import { VmapipeError } from '../core/errors.ts'
import { defineStage, z } from '../core/stage.ts'
import type { ArchiveSource, SourceOptions } from '../storage/archive/endpoint.ts'
import { mediumOf, parsePlace } from '../storage/archive/spec.ts'
import { farVolumeSource } from '../storage/archive/volumes/far-archive.ts'
import { findUnlistedFarVolumes } from '../storage/archive/volumes/far-set.ts'
import { findUnlistedVolumes } from '../storage/archive/volumes/volume-set.ts'
import { VolumeSource } from '../storage/archive/volumes/volume-source.ts'

/**
 * Reads the volumes of an archive as one, by the name of the first.
 *
 *     await definePipeline([joiner({ from: 'vm.vma.zst.000' }), sink({ to: 'vm.vma.zst' })]).run()
 */
export const joiner = defineStage({
  name: 'joiner',
  summary: 'reads the volumes of an archive as one, by the name of the first: vm.vma.zst.000',
  input: 'nothing',
  output: 'bytes',
  options: z.strictObject({
    from: z.string().min(1).describe('the first volume, whose name ends in .000: a path, ssh:// or s3://'),
  }),
  medium: ({ from }) => (mediumOf(from) === 'a file' ? 'files' : mediumOf(from)),
  create({ from }, { budget, counters, signal, warn, atEnd }) {
    let source: ArchiveSource | null = null
    return {
      async open() {
        source = await volumesOf(from, { budget, signal, warn, atEnd })
        if (source === null) {
          throw new VmapipeError('USAGE', `'${from}' is not the first of several volumes`, {
            hint: 'its name ends in .000, and .001 or the list (.volumes) is beside it',
          })
        }
        await source.open()
        counters.set('total', source.size!)
      },
      async read() {
        const chunk = await source!.read()
        counters.add('read', chunk?.byteLength ?? 0)
        counters.add('done', chunk?.byteLength ?? 0)
        return chunk
      },
      close: () => source?.close(),
    }
  },
})

/** Null if it is no volume, or the only one. */
async function volumesOf(from: string, options: SourceOptions): Promise<ArchiveSource | null> {
  const place = parsePlace(from)
  if (place.kind === 'ssh' || place.kind === 's3') {
    const far = await findUnlistedFarVolumes(place, options)
    return far && farVolumeSource(far, options)
  }
  const volumes = place.kind === 'file' ? await findUnlistedVolumes(place.path) : null
  return volumes && new VolumeSource(volumes, options)
}
