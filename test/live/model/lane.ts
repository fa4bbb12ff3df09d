/**
 * A writer of a guest that does one thing after the other, to bytes that nobody else writes to. So what its bytes hold
 * at one instant is what they hold after its requests 1..m, for some m between the requests that were answered before the
 * instant and those that were begun before it.
 */

import assert from 'node:assert/strict'
import type { NbdClient } from '../../../src/protocol/nbd/client.ts'

/** Bytes of one drive. */
export interface Stretch {
  drive: string
  offset: number
  length: number
}

interface Change extends Stretch {
  /** What the bytes hold when the request is done; of a trim that is found out then. */
  data: Buffer
  isTrim: boolean
}

export interface Guest {
  clients: Record<string, NbdClient>
  /** What each drive holds, as far as requests were answered. */
  shadows: Record<string, Buffer>
  random: () => number
}

export class Lane {
  readonly #guest: Guest
  readonly #name: string
  readonly #territory: readonly Stretch[]
  readonly #longest: number
  /** The changes that were begun since `#first`, of all that there ever were. */
  #changes: Change[] = []
  #first = 0
  #isBusy = false
  requests = 0

  /** `longest`: bytes that a request of it touches at most. */
  constructor(guest: Guest, name: string, territory: readonly Stretch[], longest: number) {
    this.#guest = guest
    this.#name = name
    this.#territory = territory
    this.#longest = longest
  }

  /** Changes that were begun, and that were done. */
  get begun(): number {
    return this.#first + this.#changes.length
  }

  get done(): number {
    return this.begun - (this.#isBusy ? 1 : 0)
  }

  /** One request of whatever kind. */
  async step(): Promise<void> {
    const { random, clients, shadows } = this.#guest
    const stretch = this.#choose()
    const { drive, offset, length } = stretch
    const client = clients[drive]
    const before = shadows[drive].subarray(offset, offset + length)
    const dice = random()
    this.requests++
    if (dice < 0.2) {
      const found = Buffer.alloc(length)
      await client.read(found, offset)
      assert.ok(found.equals(before), `${this.#name} reads at byte ${offset} of ${drive} what it has not written`)
    } else if (dice < 0.21) {
      await client.flush()
    } else {
      await this.#change(stretch, client, dice)
    }
  }

  async #change(stretch: Stretch, client: NbdClient, dice: number): Promise<void> {
    const { random, shadows } = this.#guest
    const { drive, offset, length } = stretch
    const change: Change = { ...stretch, data: Buffer.alloc(length), isTrim: dice >= 0.9 }
    this.#changes.push(change)
    this.#isBusy = true
    if (dice < 0.75) {
      change.data.fill(Buffer.from(`${this.#name} ${this.begun} `))
      await client.write([change.data], offset, { fua: random() < 0.005 })
    } else if (change.isTrim) {
      await client.trim(offset, length)
      await client.read(change.data, offset)
      this.#checkTrimmed(change, shadows[drive].subarray(offset, offset + length))
    } else {
      await client.writeZeroes(offset, length, { noHole: random() < 0.5 })
    }
    change.data.copy(shadows[drive], offset)
    this.#isBusy = false
  }

  /** Nothing else is to be found after a trim than what was there, or zeroes. */
  #checkTrimmed({ data, drive, offset }: Change, before: Buffer): void {
    const wrong = data.findIndex((byte, index) => byte !== 0 && byte !== before[index])
    assert.equal(wrong, -1, `a trim wrote something at byte ${offset + wrong} of ${drive}`)
  }

  /** What was done before is not needed any more. */
  forget(): void {
    const { done } = this
    this.#changes.splice(0, done - this.#first)
    this.#first = done
  }

  /** The images hold exactly its changes 1..m, for one m from `since` to `until`. */
  checkInstant(images: Map<string, Buffer>, shadows: Record<string, Buffer>, since: number, until: number): void {
    const state = new Map(Object.entries(shadows).map(([name, shadow]) => [name, Buffer.from(shadow)]))
    let wrong = this.#territory.reduce((sum, stretch) => sum + differences(stretch, images, state), 0)
    for (let m = since; wrong > 0 && m < until; m++) {
      const change = this.#changes[m - this.#first]
      wrong -= differences(change, images, state)
      // A trim happens piece by piece.
      if (change.isTrim && wrong + this.#neither(change, images, state) === 0) return
      change.data.copy(state.get(change.drive)!, change.offset)
      wrong += differences(change, images, state)
    }
    assert.equal(wrong, 0, `${this.#name}: ${wrong} bytes are not of one instant (its changes ${since} to ${until})`)
  }

  #neither({ drive, offset, data }: Change, images: Map<string, Buffer>, state: Map<string, Buffer>): number {
    const found = images.get(drive)!.subarray(offset, offset + data.length)
    const before = state.get(drive)!.subarray(offset, offset + data.length)
    return found.reduce((sum, byte, index) => sum + (byte === before[index] || byte === data[index] ? 0 : 1), 0)
  }

  #choose(): Stretch {
    const { random } = this.#guest
    const { drive, offset, length } = this.#territory[Math.floor(random() * this.#territory.length)]
    // Short ones are as likely as long ones.
    const bytes = Math.ceil(Math.min(this.#longest, length) ** random())
    return { drive, offset: offset + Math.floor(random() * (length - bytes + 1)), length: bytes }
  }
}

function differences(
  { drive, offset, length }: Stretch,
  images: Map<string, Buffer>,
  state: Map<string, Buffer>,
): number {
  const found = images.get(drive)!.subarray(offset, offset + length)
  const wanted = state.get(drive)!.subarray(offset, offset + length)
  if (found.equals(wanted)) return 0
  return found.reduce((sum, byte, index) => sum + (byte === wanted[index] ? 0 : 1), 0)
}
