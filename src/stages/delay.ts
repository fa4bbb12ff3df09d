/**
 * Makes a pipeline slow: each item waits for a time, or for as long as its bytes take at a rate. It is for people who test how their
 * own stages behave beside a slow one. `rate-limit` is for production: it allows short bursts, this stage does not.
 */

import { dataLength, type Item } from '../core/items.ts'
import { sleepUntilAborted } from '../core/long-sleep.ts'
import { byteRate } from '../core/size-option.ts'
import { defineStage, z } from '../core/stage.ts'

/**
 * Slows items of any kind down, to test other stages.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), delay({ ms: 5 }), sink({ to: 'copy.vma' })]).run()
 */
export const delay = defineStage({
  name: 'delay',
  summary: 'makes each item wait, to test other stages',
  input: 'any',
  output: 'same',
  options: z
    .strictObject({
      ms: z.number().min(0).default(0).describe('milliseconds that each item waits'),
      rate: byteRate().optional().describe('bytes a second that an item waits for besides, such as 5MiB/s'),
    })
    .refine(({ ms, rate }) => ms > 0 || rate !== undefined, 'expected ms, rate, or both'),
  paces: true,
  create({ ms, rate = Number.POSITIVE_INFINITY }, { signal }) {
    return async (item: Item) => {
      try {
        await sleepUntilAborted(ms + (dataLength(item) / rate) * 1000, signal)
      } catch (error) {
        item.release()
        throw error
      }
      return item
    }
  },
})
