/** Counts the clusters of each drive that the deframer accepted. It is the last stage of a pipeline that only checks. */

import { Census, type DriveReport } from '../core/census.ts'
import { VmapipeError } from '../core/errors.ts'
import type { ClusterItem, Manifest } from '../core/items.ts'
import { defineStage, type SinkBody, z } from '../core/stage.ts'
import { restoreNames } from '../formats/vma/names.ts'

/** What the verifier has seen. */
export interface VerifyReport {
  manifest: Manifest
  drives: DriveReport[]
}

/**
 * Checks that every cluster of every drive comes once. Takes clusters. Errors: INCOMPLETE.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), vmaDeframer(), verifier({ report: ({ drives }) => console.log(drives.length) })]).run()
 */
export const verifier = defineStage({
  name: 'verifier',
  summary: 'checks everything that a restore would, and writes nothing',
  input: 'clusters',
  output: 'nothing',
  options: z.strictObject({
    report: z
      .custom<(report: VerifyReport) => void>((value) => typeof value === 'function')
      .optional()
      .describe('in code: is called with the result; without it, a line is said about each drive'),
  }),
  create({ report }, { warn }): SinkBody<ClusterItem> {
    const census = new Census()
    return {
      write(item) {
        if (item.kind === 'manifest') restoreNames(item)
        census.count(item)
        item.release()
      },
      final() {
        const { manifest, drives } = census
        if (manifest === null) throw new VmapipeError('INCOMPLETE', 'nothing came, not even a manifest')
        if (report !== undefined) report({ manifest, drives })
        else for (const drive of drives) warn(reportLine(drive, manifest.isIncremental))
      },
    }
  },
})

/** "drive-scsi0: 4096 clusters, all there once; 12 are zero, 34603008 bytes are stored" */
function reportLine({ name, clusters, zeroClusters, stored }: DriveReport, isIncremental: boolean): string {
  const what = isIncremental ? 'changed clusters, each there once' : 'clusters, all there once'
  return `${name}: ${clusters} ${what}; ${zeroClusters} are zero, ${stored} bytes are stored`
}
