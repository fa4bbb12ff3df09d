/**
 * The end of a backup in the service: hands clusters over to another process. In shared memory clusters are not sent but told, and
 * their memory is lent until that process gives it back. It costs the guest less than anything else that can be done
 * with them.
 */

import type { Socket } from 'node:net'
import { Bell } from '../../../core/bell.ts'
import { VmapipeError } from '../../../core/errors.ts'
import type { ClusterItem, Run } from '../../../core/items.ts'
import { defineStage, type SinkBody, z } from '../../../core/stage.ts'
import { encodeHeader } from '../../../formats/vma/header.ts'
import { encodeMessage, Kind, MESSAGE_BYTES, type Message, RETURN_BYTES } from './messages.ts'

/** Messages that are sent at once, so that neither side wakes up for each. */
const BATCH = 170
/** Bytes of clusters after which a batch is sent although it is not full. */
const BATCH_BYTES = 1 << 20
/** Milliseconds after which a batch is sent in any case. */
const BATCH_MS = 2

export const handover = defineStage({
  name: 'handover',
  summary: 'gives clusters to another process: where they are in shared memory, or their data',
  input: 'clusters',
  output: 'nothing',
  options: z.strictObject({ socket: z.custom<Socket>(), memory: z.instanceof(Buffer).nullable() }),
  create: ({ socket, memory }, { signal }) => new Handover(socket, memory, signal),
})

class Handover implements SinkBody<ClusterItem> {
  readonly #socket: Socket
  /** Shared with the other process; null if all data goes inline. */
  readonly #memory: Buffer | null
  /** Runs that the other process has, by the number of their message. */
  readonly #lent = new Map<number, Run>()
  #count = 0
  #batch = Buffer.allocUnsafe(BATCH * MESSAGE_BYTES)
  #used = 0
  #bytes = 0
  #timer: NodeJS.Timeout | null = null
  /** The bytes of a number that has not come completely. */
  #rest: Buffer = Buffer.alloc(0)
  #closed = false
  /** Rings when something has become of the socket, or everything is back. */
  readonly #bell = new Bell()

  constructor(socket: Socket, memory: Buffer | null, signal: AbortSignal) {
    this.#socket = socket
    this.#memory = memory
    // This ends all waiting.
    signal.addEventListener('abort', () => socket.destroy(), { once: true })
  }

  open(): void {
    this.#socket.on('data', (bytes: Buffer) => this.#takeBack(bytes))
    this.#socket.on('drain', () => this.#bell.ring())
    this.#socket.on('close', () => this.#bell.ring())
    // It was paused when the request had been read.
    this.#socket.resume()
  }

  write(item: ClusterItem): Promise<void> | undefined {
    if (item.kind === 'manifest') {
      const header = encodeHeader(item)
      this.#tell({ kind: Kind.MANIFEST, length: header.length })
      this.#send(header)
    } else this.#give(item)
    return this.#socket.writableNeedDrain ? this.#drained() : undefined
  }

  async final(): Promise<void> {
    this.#tell({ kind: Kind.END })
    this.#flush()
    while (this.#lent.size > 0 && !this.#isOver) await this.#bell.next()
    if (this.#isOver) throw new VmapipeError('FAILED', 'the process that makes the archive went away')
    this.#tell({ kind: Kind.WHOLE })
    this.#flush()
    this.#socket.end()
  }

  close(): void {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (!this.#socket.writableEnded) this.#socket.destroy()
    // Without WHOLE the other process does not finish its archive.
    for (const run of this.#lent.values()) run.release()
    this.#lent.clear()
    this.#bell.ring()
  }

  get #isOver(): boolean {
    return this.#closed || this.#socket.destroyed
  }

  async #drained(): Promise<void> {
    while (this.#socket.writableNeedDrain && !this.#isOver) await this.#bell.next()
  }

  #give(run: Run): void {
    const { drive, first, count, blocks } = run
    if (run.isZero) {
      this.#tell({ kind: Kind.ZEROES, drive, first, count })
      run.release()
      return
    }
    const length = run.byteLength
    const [block] = blocks
    const memory = this.#memory
    if (memory !== null && blocks.length === 1 && block.buffer === memory.buffer && !isFragment(run)) {
      const offset = block.byteOffset - memory.byteOffset
      this.#lent.set(this.#count, run)
      this.#count = (this.#count + 1) >>> 0
      this.#tell({ kind: Kind.SHARED, drive, first, count, length, offset })
      return
    }
    this.#tell({ kind: Kind.INLINE, drive, first, count, length })
    for (const bytes of blocks) this.#send(bytes, bytes === blocks.at(-1) ? () => run.release() : undefined)
  }

  #tell(message: Partial<Message> & Pick<Message, 'kind'>): void {
    encodeMessage(message, this.#batch, this.#used)
    this.#used += MESSAGE_BYTES
    this.#bytes += message.length ?? 0
    if (this.#used === this.#batch.length || this.#bytes >= BATCH_BYTES) this.#flush()
    else this.#timer ??= setTimeout(() => this.#flush(), BATCH_MS)
  }

  /** Sends bytes behind all messages so far. */
  #send(bytes: Uint8Array, sent?: () => void): void {
    this.#flush()
    this.#socket.write(bytes, sent)
  }

  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#bytes = 0
    if (this.#used === 0 || this.#isOver) return
    this.#socket.write(this.#batch.subarray(0, this.#used))
    this.#batch = Buffer.allocUnsafe(BATCH * MESSAGE_BYTES)
    this.#used = 0
  }

  #takeBack(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    let at = 0
    for (; at + RETURN_BYTES <= all.length; at += RETURN_BYTES) {
      const number = all.readUInt32BE(at)
      const run = this.#lent.get(number)
      if (run === undefined) {
        this.#socket.destroy()
        return
      }
      this.#lent.delete(number)
      run.release()
    }
    this.#rest = all.subarray(at)
    if (this.#lent.size === 0) this.#bell.ring()
  }
}

/**
 * Whether the run holds much more memory than it has bytes: guests have been faster with its neighbours. The other process
 * counts bytes, and a few such runs in an extent that it has not filled would keep all of the scan's memory for good.
 */
function isFragment(run: Run): boolean {
  let held = 0
  for (const { bytes } of run.leases) held += bytes
  return held > 2 * run.byteLength
}
