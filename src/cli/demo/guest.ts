/**
 * The made-up guest: some programs that each write a page of 4 KiB here, think a little, and write the next one elsewhere,
 * over NBD as any guest would. Every write is numbered and kept in a journal.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../protocol/nbd/client.ts'
import { type DemoDrive, PAGE } from './drives.ts'
import { Journal, recordOf, type Write } from './journal.ts'

/** Programs that write to each drive. */
export const PROGRAMS = 4
/** A program thinks for so many milliseconds at most. */
const THINKING_MS = 12

export class Guest {
  readonly journal = new Journal()
  readonly #clients: NbdClient[] = []
  #programs: Promise<unknown> = Promise.resolve()
  #running = true
  #number = 0

  /** Begins to write to the drives that are served at `socketPath`. */
  static async start(drives: readonly DemoDrive[], socketPath: string, signal: AbortSignal): Promise<Guest> {
    const guest = new Guest()
    for (const { name: exportName } of drives)
      guest.#clients.push(await NbdClient.connect({ exportName, socketPath }, { signal }))
    const programs = drives.flatMap((drive, index) =>
      Array.from({ length: PROGRAMS }, (_, program) => guest.#run(drive, guest.#clients[index], program)),
    )
    guest.#programs = Promise.all(programs)
    // Who waits for it sees the error.
    guest.#programs.catch(() => {})
    return guest
  }

  /** Rejects when a write fails, and as long as all is well never resolves: to be raced with. */
  get trouble(): Promise<never> {
    return this.#programs.then(() => new Promise<never>(() => {}))
  }

  /** Resolves when what is under way is answered. */
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
      await sleep(Math.random() * THINKING_MS)
    }
  }

  async #write({ name: drive }: DemoDrive, client: NbdClient, page: number): Promise<void> {
    const number = ++this.#number
    const record = recordOf({ drive, page, number })
    const write: Write = { drive, page, number, begun: Date.now(), ended: Number.POSITIVE_INFINITY, latency: 0 }
    this.journal.writes.push(write)
    const started = performance.now()
    await client.write([record], page * PAGE)
    write.latency = performance.now() - started
    write.ended = Date.now()
  }
}
