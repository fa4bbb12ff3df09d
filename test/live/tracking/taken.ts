/** A backup of a served guest as what it takes: the clusters that come, laid over an older image. */

import { Writable } from 'node:stream'
import { CLUSTER_SIZE } from '../../../src/core/geometry.ts'
import { type ClusterItem, Manifest } from '../../../src/core/items.ts'
import { definePipeline } from '../../../src/core/pipeline.ts'
import { defineStage, z } from '../../../src/core/stage.ts'
import type { BackupWish } from '../../../src/live/control/client.ts'
import { confirmation, feedSource } from '../../../src/live/control/handover/feed-source.ts'
import type { ChangesUsed } from '../../../src/live/live-backup.ts'
import { sink } from '../../../src/stages/sink.ts'
import { vmaFramer } from '../../../src/stages/vma-framer.ts'
import { zeroElider } from '../../../src/stages/zero-elider.ts'
import type { Serving } from '../serving.ts'

export interface Taken {
  /** By drive: the parent's image with the clusters of this backup. */
  images: Record<string, Buffer>
  /** By drive: how many clusters came. */
  clusters: Record<string, number>
  /** What the service says of a backup with a parent. */
  used: Record<string, ChangesUsed>
}

/** `before`: the images that the parent has. */
export async function takeBackup(
  serving: Serving,
  wish: BackupWish,
  before: Readonly<Record<string, Buffer>>,
  signal?: AbortSignal,
): Promise<Taken> {
  const images = Object.fromEntries(Object.entries(before).map(([name, image]) => [name, Buffer.from(image)]))
  const clusters: Record<string, number> = {}
  const names = new Map<number, string>()
  const tap = defineStage({
    name: 'tap',
    summary: 'for a test',
    input: 'clusters',
    output: 'clusters',
    options: z.strictObject({}),
    create: () => (item: ClusterItem) => {
      if (item instanceof Manifest) {
        for (const { id, name } of item.drives) names.set(id, name)
        const parent = { uuid: new Uint8Array(16), end: new Uint8Array(16), ctime: 0 }
        return wish.since === undefined ? item : new Manifest({ ...item, record: { parent, guest: null, full: null } })
      } else {
        const name = names.get(item.drive)!
        clusters[name] = (clusters[name] ?? 0) + item.count
        const at = item.first * CLUSTER_SIZE
        if (item.isZero) images[name].fill(0, at, Math.min(images[name].length, at + item.count * CLUSTER_SIZE))
        else Buffer.concat(item.blocks).copy(images[name], at)
      }
      return item
    },
  })
  const feed = await serving.client.backup(wish, signal)
  const to = new Writable({ write: (_, __, done) => done() })
  const stages = [feedSource({ feed }), tap(), zeroElider(), vmaFramer(), confirmation({ feed }), sink({ to })]
  await definePipeline(stages).run({ buffer: 16 << 20, ...(signal && { signal }) })
  const { status } = await serving.ended()
  return { images, clusters, used: status.parent?.drives ?? {} }
}
