/** A step that looks at clusters as they go by: what archive it is, and how much of each drive is data. */

import type { ClusterItem, Manifest, Run } from '../core/items.ts'
import { type BoundStage, defineStage, z } from '../core/stage.ts'
import type { DriveReport } from '../stages/verifier.ts'

export class Census {
  manifest: Manifest | null = null
  readonly #drives = new Map<number, DriveReport>()

  /** In the order of the manifest; complete once the pipeline has ended. */
  get drives(): DriveReport[] {
    return [...this.#drives.values()]
  }

  readonly stage: BoundStage = defineStage({
    name: 'census',
    summary: 'looks at clusters as they go by',
    input: 'clusters',
    output: 'clusters',
    options: z.strictObject({}),
    create: () => (item: ClusterItem) => {
      if (item.kind === 'manifest') this.#begin(item)
      else this.#count(item)
      return item
    },
  })()

  #begin(manifest: Manifest): void {
    this.manifest = manifest
    for (const { id, name, size } of manifest.drives) {
      this.#drives.set(id, { name, size, clusters: 0, zeroClusters: 0, stored: 0 })
    }
  }

  #count(run: Run): void {
    const drive = this.#drives.get(run.drive)
    if (drive === undefined) return
    drive.clusters += run.count
    if (run.isZero) {
      drive.zeroClusters += run.count
      return
    }
    drive.stored += run.byteLength
    for (const mask of run.masks ?? []) if (mask === 0) drive.zeroClusters++
  }
}
