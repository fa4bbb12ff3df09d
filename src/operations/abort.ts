/** Ends the backup of a guest whose disk a `vmapipe serve` is. */

import { abortSignal, checkOptions, type Shape, text } from '../core/options.ts'
import { ControlClient } from '../live/control/client.ts'

/** Which backup is ended. */
export interface AbortOptions {
  /** Control socket of the disk server. */
  attach: string
  /** Stops waiting for the end of the backup. */
  signal?: AbortSignal
}

const shape = { attach: text, signal: abortSignal } satisfies Shape<AbortOptions>

/**
 * Ends the backup that runs, in whichever process its archive is made. Resolves when it has ended; with false if none runs. The
 * guest goes on at full speed, and no archive is left under its final name. Errors: USAGE, ABORTED, and FAILED if no server answers.
 *
 *     if (!(await abort({ attach: '/run/vm1.ctl' }))) console.log('no backup is running')
 */
export async function abort(options: AbortOptions): Promise<boolean> {
  checkOptions('abort', { shape, required: ['attach'] }, options)
  return new ControlClient(options.attach).abort(options.signal)
}
