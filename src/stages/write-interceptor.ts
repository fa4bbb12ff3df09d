/**
 * Adds the old data that a guest is about to overwrite to the stream of clusters. It goes before clusters of the scan that still
 * wait here. The guest's write continues as soon as the copy of its old data is in memory.
 */

import type { ClusterItem, Run } from '../core/items.ts'
import { defineStage, type StageContext, type TransformBody, z } from '../core/stage.ts'

/** The running guest, as the interceptor sees it. */
export interface Guest {
  /**
   * Sets the point in time, before anything is scanned. From now on, each write to a cluster that is not archived yet waits until
   * the cluster's old data is copied and given to `emit`. The copy takes urgent memory from `context.budget`.
   */
  begin(context: StageContext, emit: (run: Run) => void): void
  /** Called when the scan has ended. Resolves when the copies under way have been given to `emit` too. */
  settled(): Promise<void>
  /** Called when the backup has ended, successfully or not. Guest writes are no longer intercepted. */
  end(error: Error | null): void | Promise<void>
}

export const writeInterceptor = defineStage({
  name: 'write-interceptor',
  summary: 'adds the old data of clusters that a running guest overwrites',
  input: 'clusters',
  output: 'clusters',
  options: z.strictObject({
    guest: z
      .custom<Guest>((value) => typeof (value as Guest)?.begin === 'function', {
        error: 'needs a running guest, because without one there are no writes to intercept',
      })
      .describe('in code: the running guest'),
  }),
  create({ guest }, context): TransformBody<ClusterItem, ClusterItem> {
    // Copies that are made before the manifest has come wait for it, because the manifest must be the first item.
    const early: Run[] = []
    let emit = (run: Run): void => void early.push(run)
    return {
      open: () => guest.begin(context, (run) => emit(run)),
      transform(item, push) {
        push(item)
        if (item.kind !== 'manifest') return
        emit = push
        for (const run of early.splice(0)) push(run)
      },
      flush: () => guest.settled(),
      close: (error) => guest.end(error),
    }
  },
})
