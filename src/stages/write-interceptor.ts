/**
 * Adds the old data that a guest is about to overwrite to the stream of clusters. It goes before clusters of the scan that still
 * wait here. The guest's write continues as soon as the copy of its old data is in memory.
 */

import { LEAST_BUDGET } from '../core/budget.ts'
import { waitDuration } from '../core/duration-option.ts'
import { VmapipeError } from '../core/errors.ts'
import type { ClusterItem, Run } from '../core/items.ts'
import { byteSize } from '../core/size-option.ts'
import { type BoundStage, defineStage, type StageContext, type TransformBody, z } from '../core/stage.ts'

/** The stage that gives the write-interceptor behind it a guest. */
export const GUEST_SOURCE = 'guest-source'
const NAME = 'write-interceptor'

const NO_GUEST = 'needs a running guest, because without one there are no writes to intercept'

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

const options = z
  .strictObject({
    guest: z
      .custom<Guest>((value) => typeof (value as Guest)?.begin === 'function', { error: NO_GUEST })
      .optional()
      .describe('in code: the running guest; that of guest-source by default'),
    'max-stall': waitDuration()
      .optional()
      .describe('a write of the guest waits no longer, such as 10s; the backup is given up before it would'),
    buffer: byteSize({ min: LEAST_BUDGET })
      .optional()
      .describe("memory for old data in the process that serves the guest's disk, with guest-source: { attach }"),
  })
  .refine((given) => given.guest === undefined || (given['max-stall'] ?? given.buffer) === undefined, {
    message: "'max-stall' and 'buffer' are for the guest of guest-source, not for one that is given in code",
  })

export type InterceptorOptions = z.output<typeof options>

/**
 * Adds the old data of clusters that the guest overwrites. It stands behind guestSource. Errors: INCOMPLETE if the backup is given up.
 *
 *     await definePipeline([guestSource({ attach: '/run/vm1.ctl' }), writeInterceptor({ 'max-stall': '5s' }), vmaFramer(), sink({ to: 'vm1.vma' })]).run()
 */
export const writeInterceptor = defineStage({
  name: NAME,
  summary: 'adds the old data of clusters that a running guest overwrites',
  input: 'clusters',
  output: 'clusters',
  options,
  misplaced({ guest }, stages, index) {
    if (guest !== undefined) return null
    const before = stages.slice(0, index)
    if (!before.some(({ definition }) => definition.name === GUEST_SOURCE))
      return { message: NO_GUEST, hint: 'begin the pipeline with guest-source' }
    return before.some(isInterceptor) ? { message: 'there is one for this guest already' } : null
  },
  create({ guest }, context): TransformBody<ClusterItem, ClusterItem> {
    if (guest === undefined) throw new VmapipeError('USAGE', NO_GUEST)
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

export function isInterceptor({ definition }: BoundStage): boolean {
  return definition.name === NAME
}
