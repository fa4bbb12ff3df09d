/**
 * Writes an archive as several files of a given size, for FAT32, limits of uploads and tapes: `vm.vma.zst.000`, `.001` and so on. `cat` joins
 * them. All get their names when the last one is durable, the first volume last.
 */

import { VmapipeError } from '../core/errors.ts'
import { byteSize } from '../core/size-option.ts'
import { defineStage, z } from '../core/stage.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { VolumeTarget } from '../storage/archive/volumes/volume-target.ts'
import { ArchiveSink } from './sink/archive-sink.ts'

/**
 * Writes an archive as volumes of a given size in bytes, which get their names together at the end.
 *
 *     await definePipeline([source({ from: 'vm.vma.zst' }), splitter({ to: '/mnt/usb/vm.vma.zst', size: '4GB' })]).run()
 */
export const splitter = defineStage({
  name: 'splitter',
  summary: 'writes an archive as volumes of a given size: vm.vma.zst.000, .001 and so on',
  input: 'bytes',
  output: 'nothing',
  options: z.strictObject({
    to: z.string().min(1).describe('the path of the archive; each volume has a point and three digits behind it'),
    size: byteSize({ min: 64 << 10, example: '4GB' }).describe('bytes of a volume, such as 4GB for FAT32'),
    force: z.boolean().default(false).describe('overwrite existing volumes'),
  }),
  medium: () => 'files',
  create({ to, size, force }, context) {
    const { signal, warn } = context
    const place = parsePlace(to)
    if (place.kind !== 'file') {
      throw new VmapipeError('USAGE', `volumes are files, and '${to}' is none`, { hint: 'name a path' })
    }
    return new ArchiveSink(new VolumeTarget(place.path, size, { force, signal, warn }), context)
  },
})
