/**
 * The state of a guest's memory and devices at the point in time. QEMU's background snapshot writes it to us as a migration stream
 * while the guest goes on: it takes the devices' state during the pause, protects the memory from writes, and sends a page that the
 * guest wants to write to before the others. So nothing is stored in between, but the guest's write to such a page waits until QEMU
 * has sent it.
 *
 * A guest that is run from it (`-incoming`) begins paused, as it was when the snapshot was taken.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { CLUSTER_SIZE, roundUp } from '../../../core/geometry.ts'
import { type QmpClient, qmpErrorClass } from '../../../protocol/qmp/client.ts'
import { type Command, STEP_MS } from '../attachment/commands.ts'

/** What the archive calls it; the real tool restores a device of this name to vmstate.bin. */
export const RAM_NAME = 'vmstate'

/** 7.2: a snapshot that fails or is cancelled leaves the memory protected, and the guest hangs. 10.0.2 is safe. */
const SAFE_SINCE = 10
const CAPABILITY = 'background-snapshot'
/** Bytes for what is not memory of the guest: its graphics card, firmware, the state of its devices. */
const SLACK = 1 << 30
const LOOK_MS = 2
/** States in which no migration is going on. */
const OVER = [undefined, 'none', 'completed', 'failed', 'cancelled']

/** Bytes. */
interface MemorySummary {
  'base-memory': number
  'plugged-memory'?: number
}

interface Migration {
  status?: string
  ram?: { normal: number; duplicate: number }
  'error-desc'?: string
}

export class RamSnapshot {
  /** The most bytes that the stream can have, in whole clusters. Its length is known only at its end. */
  readonly size: number
  readonly #socket: string
  readonly #patience: number
  #armed = false

  private constructor(size: number, socket: string, patience: number) {
    this.size = size
    this.#socket = socket
    this.#patience = patience
  }

  /**
   * FAILED if this guest's memory cannot be saved this way, with what QEMU says. `socket`: where this process listens for the stream.
   * `patience`: the most milliseconds that the guest may be paused.
   */
  static async prepare(qmp: QmpClient, socket: string, patience: number): Promise<RamSnapshot> {
    const { major, minor } = qmp.version
    if (major < SAFE_SINCE) {
      const message = `QEMU ${major}.${minor} may hang the guest for good when a snapshot of its memory fails`
      throw new VmapipeError('FAILED', message, { hint: `--with-ram needs QEMU ${SAFE_SINCE} or later` })
    }
    const summary = await qmp.execute<MemorySummary>('query-memory-size-summary')
    const { 'base-memory': base, 'plugged-memory': plugged = 0 } = summary
    // 8 bytes go before each page of 4 KiB, and some around each of the parts that they are sent in.
    const memory = (base + plugged) * (1 + 1 / 256)
    const snapshot = new RamSnapshot(roundUp(memory + SLACK, CLUSTER_SIZE), socket, patience)
    await snapshot.arm(qmp)
    await snapshot.remove(qmp)
    return snapshot
  }

  /** To be called before `start`. The next migration of this guest would be a background snapshot, until `remove`. */
  async arm(qmp: QmpClient): Promise<void> {
    try {
      this.#armed = true
      await setCapability(qmp, true)
    } catch (error) {
      if (qmpErrorClass(error) === undefined) throw error
      this.#armed = false
      const message = `QEMU cannot save the guest's memory while it runs: ${asVmapipeError(error).message}`
      const hint =
        "it needs Linux's userfaultfd (root, or sysctl vm.unprivileged_userfaultfd=1) and memory of the common kind"
      throw new VmapipeError('FAILED', message, { cause: error, hint })
    }
  }

  /** The command that begins the snapshot: the last one during the pause. */
  get start(): Command {
    return ['migrate', { uri: `unix:${this.#socket}` }]
  }

  /** After `start`: resolves as soon as the guest may go on, its memory being protected. */
  async saved(qmp: QmpClient): Promise<void> {
    for (const end = performance.now() + this.#patience; performance.now() < end; await sleep(LOOK_MS)) {
      const { status, ram, 'error-desc': reason } = await migrationOf(qmp)
      if (status === 'completed') return
      if (OVER.includes(status)) throw failed(reason ?? status ?? 'nothing was begun')
      // The first page goes out when all are protected.
      if (ram !== undefined && ram.normal + ram.duplicate > 0) return
    }
    throw failed(`the guest would stand still for more than ${this.#patience} ms`)
  }

  /** To be called when the stream has ended. FAILED if it is not whole. */
  async outcome(qmp: QmpClient): Promise<void> {
    const { status, 'error-desc': reason } = await settled(qmp)
    if (status !== 'completed') throw failed(reason ?? `the migration is ${status}`)
  }

  /** To be called when our end of the stream is closed. FAILED if something is left. */
  async remove(qmp: QmpClient): Promise<void> {
    if (!this.#armed) return
    const { status } = await migrationOf(qmp)
    if (!OVER.includes(status)) {
      await qmp.execute('migrate_cancel', undefined, { timeout: STEP_MS })
      await settled(qmp)
    }
    await setCapability(qmp, false)
    this.#armed = false
  }
}

/** Takes back what a killed run has armed: otherwise the owner's next migration would be a snapshot. */
export async function disarmRam(qmp: QmpClient): Promise<void> {
  try {
    const all = await qmp.execute<{ capability: string; state: boolean }[]>('query-migrate-capabilities')
    if (!all.some(({ capability, state }) => capability === CAPABILITY && state)) return
  } catch (error) {
    // qemu-storage-daemon has no guest, and does not know the question.
    if (qmpErrorClass(error) === 'CommandNotFound') return
    throw error
  }
  await settled(qmp)
  await setCapability(qmp, false)
}

function setCapability(qmp: QmpClient, state: boolean): Promise<unknown> {
  const capabilities = [{ capability: CAPABILITY, state }]
  return qmp.execute('migrate-set-capabilities', { capabilities }, { timeout: STEP_MS })
}

function migrationOf(qmp: QmpClient): Promise<Migration> {
  return qmp.execute<Migration>('query-migrate', undefined, { timeout: STEP_MS })
}

async function settled(qmp: QmpClient): Promise<Migration> {
  for (const end = performance.now() + STEP_MS; performance.now() < end; await sleep(LOOK_MS)) {
    const migration = await migrationOf(qmp)
    if (OVER.includes(migration.status)) return migration
  }
  throw new VmapipeError('FAILED', 'the snapshot of the memory does not end')
}

function failed(reason: string): VmapipeError {
  return new VmapipeError('FAILED', `QEMU could not save the guest's memory: ${reason}`)
}
