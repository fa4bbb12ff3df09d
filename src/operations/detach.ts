/** Takes out of a QEMU what a killed backup left there. */

import { checkOptions, flag } from '../core/options.ts'
import { detachAlone, isPaused } from '../live/qemu/attachment/detach.ts'
import { openMonitor } from '../live/qemu/monitor.ts'
import { type MonitorOptions, monitorShape } from './monitor-options.ts'

/** Which QEMU, and what is taken out of it. */
export interface DetachOptions extends MonitorOptions {
  /** The dirty bitmaps too by which the next incremental backup would know what to read. Those of other programs stay. */
  bitmaps?: boolean
}

/** What was taken out of a QEMU. */
export interface DetachReport {
  /** The names of what was taken out; none if nothing was left. */
  removed: string[]
  /** Whether the killed backup had paused the guest; it runs again now. */
  continued: boolean
  /** Whether the guest is paused, for another reason. */
  paused: boolean
}

/**
 * Takes out filters, exports and nodes of a backup that was killed. The guest goes on. A backup does the same before it begins.
 * Errors: USAGE, ABORTED, and FAILED if a backup is running, or if something cannot be taken out.
 *
 *     const { removed } = await detach({ qmp: '/run/vm1.qmp' })
 */
export async function detach(options: DetachOptions): Promise<DetachReport> {
  checkOptions('detach', { shape: { ...monitorShape, bitmaps: flag } }, options)
  const { signal, warn, bitmaps } = options
  const qmp = await openMonitor(options, { signal, warn })
  try {
    const { removed, continued } = await detachAlone(qmp, { bitmaps })
    return { removed, continued, paused: await isPaused(qmp) }
  } finally {
    qmp.close()
  }
}
