/**
 * Looks at one backup of a service about every second: how the guest is doing, and whether the service has given the backup up. A
 * process whose own sink takes nothing more does not read on, and would not learn the latter from its stream.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../core/errors.ts'
import type { LiveBackupStatus } from '../live-backup.ts'
import type { ControlClient } from './client.ts'
import type { BackupOutcome, ServiceStatus } from './controlled-service.ts'

const LOOK_MS = 1000

/** Milliseconds that a service may take to see that its backup has ended. */
const SETTLE_MS = 2000

export class Watch {
  readonly #client: ControlClient
  readonly #uuid: string
  readonly #onGuest: (status: LiveBackupStatus, service: ServiceStatus) => void
  readonly #given = new AbortController()
  readonly #timer: NodeJS.Timeout

  /** `uuid`: of the backup. `onGuest` is called with how the guest is doing. */
  constructor(
    client: ControlClient,
    uuid: string,
    onGuest: (status: LiveBackupStatus, service: ServiceStatus) => void = () => {},
  ) {
    this.#client = client
    this.#uuid = uuid
    this.#onGuest = onGuest
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
  }

  /** Aborted, with the service's reason, when it has given the backup up. */
  get givenUp(): AbortSignal {
    return this.#given.signal
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** How the backup ended, as soon as the service knows; null if the service is gone. */
  async outcome(): Promise<BackupOutcome | null> {
    const until = performance.now() + SETTLE_MS
    do {
      const status = await this.#client.status().catch(() => null)
      if (status === null) return null
      const outcome = this.#outcomeOf(status)
      if (outcome !== null) return outcome
      await sleep(50)
    } while (performance.now() < until)
    return null
  }

  async #look(): Promise<void> {
    const status = await this.#client.status().catch(() => null)
    if (status?.backup?.uuid === this.#uuid) this.#onGuest(status.backup, status)
    const error = status && this.#outcomeOf(status)?.error
    if (error) this.#given.abort(new VmapipeError('FAILED', error))
  }

  #outcomeOf({ last }: ServiceStatus): BackupOutcome | null {
    return last?.status.uuid === this.#uuid ? last : null
  }
}
