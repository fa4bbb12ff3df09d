/**
 * A running guest as the source of a pipeline: its drives at one point in time. What the guest is about to overwrite enters
 * the pipeline at `write-interceptor`, which is one of the next stages.
 *
 * The guest must be there before any stage is opened, and until every stage is closed. So this stage surrounds the run: it
 * connects to the guest, runs the pipeline with stages for this guest in the place of these two, and leaves the guest as it was.
 */

import { VmapipeError } from '../../core/errors.ts'
import { defineStage } from '../../core/stage.ts'
import { rateLimit } from '../../stages/rate-limit.ts'
import { GUEST_SOURCE, type InterceptorOptions, isInterceptor } from '../../stages/write-interceptor.ts'
import { guestOptions } from './options.ts'
import { partsOf } from './parts.ts'

/** The only stage that can be between the two: it limits the scan and gives what it takes. */
const RATE_LIMIT = rateLimit.definition.name

/**
 * Gives the drives of a running guest, at one point in time. A write-interceptor stands behind it. Errors: USAGE, FAILED, INCOMPLETE.
 *
 *     await definePipeline([guestSource({ qmp: '/run/vm1.qmp' }), writeInterceptor(), vmaFramer(), sink({ to: 'vm1.vma' })]).run()
 */
export const guestSource = defineStage({
  name: GUEST_SOURCE,
  summary: 'gives the drives of a running guest, at one point in time',
  input: 'nothing',
  output: 'clusters',
  options: guestOptions,
  misplaced: ({ attach }, stages, index) => {
    const at = stages.findIndex(isInterceptor)
    if (at < 0)
      return {
        message: 'needs a write-interceptor behind it: without one the old data of what the guest overwrites is lost',
        hint: 'put write-interceptor behind guest-source',
      }
    const { guest, buffer } = stages[at].options as InterceptorOptions
    if (guest !== undefined) return { message: 'the write-interceptor behind it has another guest' }
    if (buffer !== undefined && attach === undefined)
      return {
        message:
          "old data of a QEMU's guest waits in the memory of the pipeline, and write-interceptor has no buffer of its own",
        hint: 'give buffer to the whole pipeline',
      }
    const between = stages.slice(index + 1, at).find(({ definition }) => definition.name !== RATE_LIMIT)
    if (between === undefined) return null
    const { name } = between.definition
    const message = `${name} is between it and write-interceptor, where only ${RATE_LIMIT} can be: it would miss what the guest overwrites`
    return { message, hint: `put ${name} behind write-interceptor` }
  },
  create() {
    throw new VmapipeError(
      'USAGE',
      'a running guest can only be the source of a whole pipeline, not of a branch of one',
    )
  },
  async around(given, run) {
    const parts = partsOf(run.stages, run.index)
    // Loaded only now: every pipeline knows this stage, and few have a guest.
    const { libvirt } = given
    if (libvirt !== undefined)
      return (await import('../libvirt/run.ts')).runWithLibvirt({ ...given, libvirt }, parts, run)
    if (given.attach === undefined) return (await import('./qemu.ts')).runWithQemu(given, parts, run)
    return (await import('./attached.ts')).runAttached(given.attach, given, parts, run)
  },
})
