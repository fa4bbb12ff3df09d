/** The end of a pipeline that only checks: counts what the deframer let through, drive by drive. */

import { VmapipeError } from '../core/errors.ts'
import type { ClusterItem } from '../core/items.ts'
import { defineStage, type SinkBody, z } from '../core/stage.ts'
import { restoreNames } from '../formats/vma/names.ts'
import { Census, type DriveReport } from './census.ts'

export const verifier = defineStage({
  name: 'verifier',
  summary: 'checks everything that a restore would, and writes nothing',
  input: 'clusters',
  output: 'nothing',
  options: z.strictObject({
    census: z
      .custom<Census>((value) => value instanceof Census)
      .optional()
      .describe('in code: takes the numbers; without one, a line is said about each drive'),
  }),
  create({ census }, { warn }): SinkBody<ClusterItem> {
    const counted = census ?? new Census()
    return {
      write(item) {
        if (item.kind === 'manifest') restoreNames(item)
        counted.count(item)
        item.release()
      },
      final() {
        if (counted.manifest === null) throw new VmapipeError('INCOMPLETE', 'nothing came, not even a manifest')
        if (census === undefined) for (const drive of counted.drives) warn(reportLine(drive))
      },
    }
  },
})

/** "drive-scsi0: 4096 clusters, all there once; 12 are zero, 34603008 bytes are stored" */
function reportLine({ name, clusters, zeroClusters, stored }: DriveReport): string {
  return `${name}: ${clusters} clusters, all there once; ${zeroClusters} are zero, ${stored} bytes are stored`
}
