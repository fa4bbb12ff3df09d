/**
 * Where the old data that a guest is about to overwrite enters the stream of clusters. It goes before what the scan
 * has read and still waits here; the guest's write goes on as soon as its copy is in memory.
 */

import type { ClusterItem, Run } from '../core/items.ts'
import { defineStage, type StageContext, type TransformBody, z } from '../core/stage.ts'

/** The running guest, as the interceptor sees it. */
export interface Guest {
  /**
   * The point in time, before anything is scanned: from now on every write to a cluster that is not archived yet is
   * preceded by a copy of the cluster, in memory taken from `context.budget` with urgency, and given to `emit`.
   */
  begin(context: StageContext, emit: (run: Run) => void): void
  /** The scan is through: resolves when the copies under way have been pushed too. */
  settled(): Promise<void>
  /** It is over, well or not: writes go on as if there had never been a backup. */
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
        error: 'there is no running guest whose writes it could intercept, so it would protect nothing',
      })
      .describe('in code: the running guest'),
  }),
  create({ guest }, context): TransformBody<ClusterItem, ClusterItem> {
    // The manifest goes first: copies made before it has come wait for it.
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
