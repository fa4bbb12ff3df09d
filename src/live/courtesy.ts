/** Lets the guest's requests go before each piece that was scanned: what has come is answered first. */

import { setImmediate as otherEvents } from 'node:timers/promises'
import type { ClusterItem } from '../core/items.ts'
import { defineStage, z } from '../core/stage.ts'

export const courtesy = defineStage({
  name: 'courtesy',
  summary: "lets a guest's requests go first",
  input: 'clusters',
  output: 'clusters',
  options: z.strictObject({}),
  create: () => async (item: ClusterItem) => {
    await otherEvents()
    return item
  },
})
