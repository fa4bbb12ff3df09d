/** Counts the clusters of each drive as they pass, and tells at the end how much of each is data. */

import { Census } from '../core/census.ts'
import { formatBytes } from '../core/size.ts'
import { defineStage, z } from '../core/stage.ts'

/**
 * Tells at the end how much of each drive is data: in the log, and in the summary of the run.
 *
 *     await definePipeline([
 *       clusterSource({ drives: { d: 'disk.raw' } }), zeroElider(), census(), vmaFramer(), sink({ to: 'vm.vma' }),
 *     ]).run()
 */
export const census = defineStage({
  name: 'census',
  summary: 'tells at the end how much of each drive is data',
  input: 'clusters',
  output: 'clusters',
  options: z.strictObject({}),
  create(_, { conclude }) {
    const counted = new Census()
    return {
      transform(item, push) {
        counted.count(item)
        push(item)
      },
      flush() {
        for (const drive of counted.drives) {
          const { name, size, clusters, stored } = drive
          conclude(`drive ${name}: ${formatBytes(size)}, ${formatBytes(stored)} of data in ${clusters} clusters`, {
            drive,
          })
        }
      },
    }
  },
})
