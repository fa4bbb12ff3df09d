/** Counts the clusters that pass: how much of each drive is data. It also keeps the manifest. */

import type { ClusterItem, Manifest, Run } from './items.ts'
import { type BoundStage, defineStage, z } from './stage.ts'

/** How much of a drive is data. */
export interface DriveReport {
  name: string
  /** Bytes. */
  size: number
  clusters: number
  /** Clusters without stored blocks. */
  zeroClusters: number
  /** Bytes of stored blocks. */
  stored: number
}

/**
 * Counts the clusters that pass: how much of each drive is data. It also keeps the manifest.
 *
 *     const census = new Census()
 *     await definePipeline([source({ from: 'vm.vma' }), vmaDeframer(), census.stage, verifier()]).run()
 *     for (const { name, stored } of census.drives) console.log(name, stored, 'bytes of data')
 */
export class Census {
  manifest: Manifest | null = null
  readonly #drives = new Map<number, DriveReport>()
  readonly #onManifest: (manifest: Manifest) => void

  /** `onManifest` is called when the manifest passes, before any cluster. */
  constructor(onManifest: (manifest: Manifest) => void = () => {}) {
    this.#onManifest = onManifest
  }

  /** The drives in the order of the manifest. The numbers are complete when the pipeline has ended. */
  get drives(): DriveReport[] {
    return [...this.#drives.values()]
  }

  /** The step to put into the pipeline. */
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
