/** Reads the volumes that `splitter` or split(1) has written, as one archive. `source` reads them too; this stage reads nothing else. */

import { VmapipeError } from '../core/errors.ts'
import { defineStage, z } from '../core/stage.ts'
import { parsePlace } from '../storage/archive/spec.ts'
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
  options: z.strictObject({ from: z.string().min(1).describe('the path of the first volume, which ends in .000') }),
  medium: () => 'files',
  create({ from }, { budget, counters, signal, warn, atEnd }) {
    let source: VolumeSource | null = null
    return {
      async open() {
        const place = parsePlace(from)
        const volumes = place.kind === 'file' ? await findUnlistedVolumes(place.path) : null
        if (volumes === null) {
          throw new VmapipeError('USAGE', `'${from}' is not the first of several volumes`, {
            hint: 'its name ends in .000, and .001 or the list (.volumes) is beside it',
          })
        }
        source = new VolumeSource(volumes, { budget, signal, warn, atEnd })
        await source.open()
        counters.set('total', source.size)
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
