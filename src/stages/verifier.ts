/** The end of a pipeline that only checks: counts what the deframer let through, drive by drive. */

import { VmapipeError } from '../core/errors.ts'
import type { ClusterItem, Manifest } from '../core/items.ts'
import { defineStage, type SinkBody, z } from '../core/stage.ts'
import { restoreNames } from '../formats/vma/names.ts'

export interface DriveReport {
  name: string
  /** Bytes. */
  size: number
  clusters: number
  /** Clusters of which nothing is stored. */
  zeroClusters: number
  /** Bytes of blocks that are stored. */
  stored: number
}

export interface VerifyReport {
  manifest: Manifest
  drives: DriveReport[]
}

export const verifier = defineStage({
  name: 'verifier',
  summary: 'checks everything that a restore would, and writes nothing',
  input: 'clusters',
  output: 'nothing',
  options: z.strictObject({
    report: z
      .custom<(report: VerifyReport) => void>((value) => typeof value === 'function')
      .optional()
      .describe('in code: is called with the result'),
  }),
  create({ report }, { warn }): SinkBody<ClusterItem> {
    let manifest: Manifest | null = null
    const drives = new Map<number, DriveReport>()
    return {
      write(item) {
        if (item.kind === 'manifest') {
          manifest = item
          restoreNames(item)
          for (const { id, name, size } of item.drives)
            drives.set(id, { name, size, clusters: 0, zeroClusters: 0, stored: 0 })
          return
        }
        const drive = drives.get(item.drive)!
        drive.clusters += item.count
        if (item.isZero) drive.zeroClusters += item.count
        else {
          for (const mask of item.masks ?? []) if (mask === 0) drive.zeroClusters++
          drive.stored += item.byteLength
        }
        item.release()
      },
      final() {
        if (manifest === null) throw new VmapipeError('INCOMPLETE', 'nothing came, not even a manifest')
        const result = { manifest, drives: [...drives.values()] }
        if (report !== undefined) report(result)
        else for (const drive of result.drives) warn(reportLine(drive))
      },
    }
  },
})

/** "drive-scsi0: 4096 clusters, 12 of them zero, 33 MiB stored: complete" */
export function reportLine({ name, clusters, zeroClusters, stored }: DriveReport): string {
  return `${name}: ${clusters} clusters, all there once; ${zeroClusters} are zero, ${stored} bytes are stored`
}
