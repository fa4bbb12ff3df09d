/**
 * Encrypts the archive with age, as the outermost layer, for recipients or by a passphrase. Chunks of 64 KiB are sealed by themselves,
 * so an encrypted archive can still be read in any order. `age -d` reads it.
 */

import { makeHeader, type NewHeader } from '../codecs/age/keys.ts'
import { passphraseFrom } from '../codecs/age/passphrase.ts'
import { PayloadSlots, SLOT, type Slot } from '../codecs/age/payload-slots.ts'
import { PayloadWorkers } from '../codecs/age/payload-workers.ts'
import { OrderedTasks } from '../codecs/ordered-tasks.ts'
import { Chunk } from '../core/items.ts'
import { defineStage, type Push, type StageContext, type TransformBody, z } from '../core/stage.ts'
import { CHUNK, payloadKey, SEALED, TAG } from '../formats/age/payload.ts'

const options = z.strictObject({
  recipients: z.array(z.string()).default([]).describe('public keys that can read the archive: age1…, age1pq1…'),
  'recipients-files': z.array(z.string()).default([]).describe('files with a public key in each line'),
  passphrase: z.boolean().default(false).describe('ask for a passphrase at the terminal instead'),
  'passphrase-fd': z.int().min(0).optional().describe('read the passphrase from this file descriptor'),
})

type Options = z.output<typeof options>

/** Bytes of content in a slot. */
const CONTENT = (SLOT / SEALED) * CHUNK

/** More threads bring nothing: one seals about as much as two processors compress. */
const MOST_WORKERS = 2

/**
 * Encrypts bytes with age. Errors: USAGE for recipients that cannot be used, FAILED for files of them that cannot be read.
 *
 *     const recipient = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'
 *     await definePipeline([source({ from: 'vm.vma' }), encryptor({ recipients: [recipient] }), sink({ to: 'vm.vma.age' })]).run()
 */
export const encryptor = defineStage({
  name: 'encryptor',
  summary: 'encrypts the archive with age, for recipients or by a passphrase',
  input: 'bytes',
  output: 'bytes',
  options,
  create: (given, context) => new Encryptor(given, context),
})

class Encryptor implements TransformBody<Chunk, Chunk> {
  readonly #options: Options
  readonly #slots: PayloadSlots
  readonly #workerCount: number
  readonly #signal: AbortSignal
  #header: NewHeader | null = null
  #workers: PayloadWorkers | null = null
  #order: OrderedTasks | null = null
  #slot: Slot | null = null
  /** Bytes of content in the slot. */
  #filled = 0
  /** The number of the slot's first chunk. */
  #first = 0
  readonly #abort = () => this.#stop(this.#signal.reason)

  constructor(given: Options, { budget, name, threads, signal }: StageContext) {
    this.#options = given
    this.#workerCount = Math.min(threads, MOST_WORKERS)
    this.#slots = new PayloadSlots(budget, name, this.#workerCount)
    this.#signal = signal
    signal.addEventListener('abort', this.#abort, { once: true })
  }

  async open(): Promise<void> {
    const { recipients, 'recipients-files': recipientsFiles, passphrase, 'passphrase-fd': fd } = this.#options
    this.#header = await makeHeader({
      recipients,
      recipientsFiles,
      passphrase: passphrase || fd !== undefined ? passphraseFrom({ fd, isNew: true }) : undefined,
    })
  }

  async transform(chunk: Chunk, push: Push<Chunk>): Promise<void> {
    this.#begin(push)
    try {
      for (const bytes of chunk.buffers) await this.#append(bytes)
    } finally {
      chunk.release()
    }
  }

  async flush(push: Push<Chunk>): Promise<void> {
    this.#begin(push)
    await this.#dispatch(true)
    await this.#order!.drain()
  }

  async close(error: Error | null): Promise<void> {
    this.#signal.removeEventListener('abort', this.#abort)
    await this.#stop(error ?? new Error('closed'))
  }

  #begin(push: Push<Chunk>): void {
    if (this.#order !== null) return
    const { bytes, fileKey, nonce } = this.#header!
    push(new Chunk([bytes]))
    this.#workers = new PayloadWorkers(payloadKey(fileKey, nonce), { seal: true, limit: this.#workerCount })
    this.#order = new OrderedTasks(2 * this.#workerCount, push)
  }

  /** Copies bytes to where a worker seals them: every chunk has room for its tag behind it. */
  async #append(bytes: Uint8Array): Promise<void> {
    for (let from = 0; from < bytes.byteLength; ) {
      // A full slot waits for more bytes: only then it is known that its last chunk is not the payload's last.
      if (this.#filled === CONTENT) await this.#dispatch(false)
      this.#slot ??= await this.#slots.take()
      const within = this.#filled % CHUNK
      const part = bytes.subarray(from, from + CHUNK - within)
      new Uint8Array(this.#slot.memory).set(part, Math.floor(this.#filled / CHUNK) * SEALED + within)
      this.#filled += part.byteLength
      from += part.byteLength
    }
  }

  async #dispatch(isLast: boolean): Promise<void> {
    const slot = this.#slot ?? (await this.#slots.take())
    const sealedBytes = this.#filled + Math.max(1, Math.ceil(this.#filled / CHUNK)) * TAG
    const first = this.#first
    this.#first += CONTENT / CHUNK
    this.#slot = null
    this.#filled = 0
    await this.#order!.add(() => this.#seal(slot, { sealedBytes, first, isLast }))
  }

  async #seal(slot: Slot, job: { sealedBytes: number; first: number; isLast: boolean }): Promise<Chunk> {
    try {
      const { memory } = await this.#workers!.run({ memory: slot.memory, from: 0, ...job })
      slot.memory = memory
      return new Chunk([new Uint8Array(memory, 0, job.sealedBytes)], [slot.lease])
    } catch (error) {
      slot.lease.release()
      throw error
    }
  }

  async #stop(error: Error): Promise<void> {
    this.#slots.close(error)
    await this.#workers?.close()
    await this.#order?.stop(error)
    this.#slot?.lease.release()
    this.#slot = null
  }
}
