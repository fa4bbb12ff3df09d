/** Looks at clusters as they go by: what archive it is, and how much of each drive is data. */

import type { ClusterItem, Manifest, Run } from '../core/items.ts'
import { type BoundStage, defineStage, z } from '../core/stage.ts'

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

export class Census {
  manifest: Manifest | null = null
  readonly #drives = new Map<number, DriveReport>()
  readonly #onManifest: (manifest: Manifest) => void

  /** `onManifest` is called when the manifest goes by, before any cluster. */
  constructor(onManifest: (manifest: Manifest) => void = () => {}) {
    this.#onManifest = onManifest
  }

  /** In the order of the manifest; complete once the pipeline has ended. */
  get drives(): DriveReport[] {
    return [...this.#drives.values()]
  }

  /** A step for a pipeline of which the numbers are wanted. */
  readonly stage: BoundStage = defineStage({
    name: 'census',
    summary: 'looks at clusters as they go by',
    input: 'clusters',
    output: 'clusters',
    options: z.strictObject({}),
    create: () => (item: ClusterItem) => {
      this.count(item)
      return item
    },
  })()

  count(item: ClusterItem): void {
    if (item.kind === 'manifest') this.#begin(item)
    else this.#add(item)
  }

  #begin(manifest: Manifest): void {
    this.manifest = manifest
    for (const { id, name, size } of manifest.drives) {
      this.#drives.set(id, { name, size, clusters: 0, zeroClusters: 0, stored: 0 })
    }
    this.#onManifest(manifest)
  }

  #add(run: Run): void {
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
