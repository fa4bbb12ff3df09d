/** The QMP connection of a backup, and another one for the clean-up if the first was lost. */

import { VmapipeError } from '../../core/errors.ts'
import type { QmpClient } from '../../protocol/qmp/client.ts'
import { type MonitorOptions, type MonitorPlace, openMonitor } from './monitor.ts'

const RECONNECT_MS = 3_000

export class QemuConnection {
  readonly qmp: QmpClient
  readonly #place: MonitorPlace
  readonly #gone = Promise.withResolvers<VmapipeError>()
  #shutdown = false
  #lost = false

  /** `place`: where another connection can be made. */
  private constructor(qmp: QmpClient, place: MonitorPlace) {
    this.qmp = qmp
    this.#place = place
    qmp.on(({ event }) => {
      if (event === 'SHUTDOWN') this.#shutdown = true
    })
    void qmp.closed.then((error) => {
      if (error === null) return
      this.#lost = true
      this.#gone.resolve(this.#reason(error))
    })
  }

  static async open(place: MonitorPlace, options?: MonitorOptions): Promise<QemuConnection> {
    return new QemuConnection(await openMonitor(place, options), place)
  }

  /** Whether QEMU has said that it is about to end. */
  get isShuttingDown(): boolean {
    return this.#shutdown
  }

  /** Finds out whether a QEMU is still there that does not tell: its monitor is shared, and nobody is connected to it. */
  async look(): Promise<void> {
    if (this.qmp.watching !== 'shared') return
    const state = await this.qmp.execute<{ status?: string }>('query-status').catch(() => null)
    if (state?.status === 'shutdown') this.#shutdown = true
  }

  /** Resolves when the connection is lost; never if we close it. */
  get gone(): Promise<VmapipeError> {
    return this.#gone.promise
  }

  /** Runs the clean-up. If QEMU is gone, nothing is left to do. */
  async lastly(work: (qmp: QmpClient) => Promise<void>): Promise<void> {
    if (!this.#lost) {
      try {
        return await work(this.qmp)
      } catch (error) {
        if (!this.#lost) throw error
      }
    }
    const qmp = await this.#reconnect()
    if (qmp === null) return
    try {
      await work(qmp)
    } finally {
      qmp.close()
    }
  }

  async #reconnect(): Promise<QmpClient | null> {
    try {
      return await openMonitor(this.#place, { signal: AbortSignal.timeout(RECONNECT_MS) })
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
      if (code === 'ECONNREFUSED' || code === 'ENOENT' || code === 'ECONNRESET') return null
      const message = `QEMU cannot be reached any more to take out what belongs to the backup: ${(error as Error).message}`
      throw new VmapipeError('FAILED', message, { hint: 'run `vmapipe detach` when it can', cause: error })
    }
  }

  #reason(error: Error): VmapipeError {
    const what = this.#shutdown ? 'the guest was switched off during the backup' : 'QEMU ended during the backup'
    return new VmapipeError('FAILED', `${what}: ${error.message}`, { cause: error })
  }
}
