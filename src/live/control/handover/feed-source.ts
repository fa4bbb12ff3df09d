/** The first stage of a backup of a guest whose disk a service serves, and the stage that has to come before its sink. */

import { CLUSTER_SIZE } from '../../../core/geometry.ts'
import type { ClusterItem } from '../../../core/items.ts'
import { defineStage, type SourceBody, type TransformBody, z } from '../../../core/stage.ts'
import type { ClusterFeed } from './cluster-feed.ts'

/** Bytes that copies of what is held for long need, one copy at a time. */
const LEAST_MEMORY = 4 << 20

const options = z.strictObject({ feed: z.custom<ClusterFeed>() })

export const feedSource = defineStage({
  name: 'source',
  summary: "takes clusters from the service that is a running guest's disk",
  input: 'nothing',
  output: 'clusters',
  options,
  create({ feed }, { budget, counters, signal, atEnd }): SourceBody<ClusterItem> {
    const close = () => feed.close()
    return {
      open() {
        // Other stages have taken their parts by now.
        budget.require(LEAST_MEMORY, 'reading clusters')
        signal.addEventListener('abort', close, { once: true })
        // Later stages still use its memory.
        atEnd(close)
      },
      async read() {
        const item = await feed.read(budget)
        if (item?.kind === 'run')
          counters.add(item.isZero ? 'zero' : 'read', item.isZero ? item.count * CLUSTER_SIZE : item.byteLength)
        return item
      },
      close() {
        signal.removeEventListener('abort', close)
      },
    }
  },
})

/** Holds the end back until the service has confirmed it: only then is it known that its memory did not change in use. */
export const confirmation = defineStage({
  name: 'confirmation',
  summary: 'waits until the service says that all was whole',
  input: 'any',
  output: 'same',
  options,
  create: ({ feed }): TransformBody => ({
    transform: (item, push) => push(item),
    flush: () => feed.confirmed(),
  }),
})
