/**
 * The demo guest: some programs that write over NBD, as any guest does. Each writes a page of 4 KiB, waits a little, and writes the
 * next page at another place. Every write has a number and is kept in a journal.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../protocol/nbd/client.ts'
import { type DemoDrive, PAGE } from './drives.ts'
import { DemoJournal, recordOf, type Write } from './journal.ts'

/** Programs that write to each drive. */
export const PROGRAMS = 4
/** The longest time that a program waits between writes, in milliseconds. */
const THINKING_MS = 12

export interface DemoGuestOptions {
  /** The longest time that a program waits between writes, in milliseconds. */
  thinking?: number
  /** Whether writes are kept in the journal. One that runs for hours would fill the memory with it. */
  journal?: boolean
}

export class DemoGuest {
  readonly journal = new DemoJournal()
  readonly #thinking: number
  readonly #keeps: boolean
  readonly #clients: NbdClient[] = []
  #programs: Promise<unknown> = Promise.resolve()
  #running = true
  #number = 0

  private constructor({ thinking = THINKING_MS, journal = true }: DemoGuestOptions) {
    this.#thinking = thinking
    this.#keeps = journal
  }

  /** Starts to write to the drives that are served at `socketPath`. */
  static async start(
    drives: readonly DemoDrive[],
    socketPath: string,
    signal: AbortSignal,
    options: DemoGuestOptions = {},
  ): Promise<DemoGuest> {
    const guest = new DemoGuest(options)
    for (const { name: exportName } of drives)
      guest.#clients.push(await NbdClient.connect({ exportName, socketPath }, { signal }))
    const programs = drives.flatMap((drive, index) =>
      Array.from({ length: PROGRAMS }, (_, program) => guest.#run(drive, guest.#clients[index], program)),
    )
    guest.#programs = Promise.all(programs)
    // The caller of the promise sees the error.
    guest.#programs.catch(() => {})
    return guest
  }

  /** Rejects if a write fails, and never resolves: for use in Promise.race. */
  get trouble(): Promise<never> {
    return this.#programs.then(() => new Promise<never>(() => {}))
  }

  /** Stops. Resolves when the writes in flight are answered. */
  async stop(): Promise<void> {
    this.#running = false
    try {
      await this.#programs
    } finally {
      await Promise.all(this.#clients.map((client) => client.close()))
    }
  }

  async #run(drive: DemoDrive, client: NbdClient, program: number): Promise<void> {
    while (this.#running) {
      // Each program has pages of its own.
      const page = Math.floor((Math.random() * drive.size) / PAGE / PROGRAMS) * PROGRAMS + program
      await this.#write(drive, client, page)
      await sleep(Math.random() * this.#thinking)
    }
  }

  async #write({ name: drive }: DemoDrive, client: NbdClient, page: number): Promise<void> {
    const number = ++this.#number
    const record = recordOf({ drive, page, number })
    const write: Write = { drive, page, number, begun: Date.now(), ended: Number.POSITIVE_INFINITY, latency: 0 }
    if (this.#keeps) this.journal.writes.push(write)
    const started = performance.now()
    await client.write([record], page * PAGE)
    write.latency = performance.now() - started
    write.ended = Date.now()
  }
}
