/**
 * Decrypts an archive that is encrypted with age, and passes any other on as it is. Nothing of a chunk goes on before the chunk is
 * authentic. An archive that was changed, cut or reordered is an error. If `findings` are given, it continues with the next chunk.
 */

import { Keyring } from '../codecs/age/keyring.ts'
import { PayloadSlots, SLOT, type Slot } from '../codecs/age/payload-slots.ts'
import { PayloadWorkers } from '../codecs/age/payload-workers.ts'
import { OrderedTasks } from '../codecs/ordered-tasks.ts'
import { VmapipeError } from '../core/errors.ts'
import { Findings, NoFindings } from '../core/findings.ts'
import { Chunk } from '../core/items.ts'
import { defineStage, type Push, type StageContext, type TransformBody, z } from '../core/stage.ts'
import { type AgeHeader, headerCut, isAge, LONGEST_HEADER, readAgeHeader, refuseArmor } from '../formats/age/header.ts'
import { cutShort, notAuthentic, PAYLOAD_NONCE, SEALED, TAG } from '../formats/age/payload.ts'

const options = z.strictObject({
  identities: z
    .array(z.string())
    .default([])
    .describe('files with secret keys, as age-keygen writes them; VMAPIPE_IDENTITY_FILE if none is given'),
  'passphrase-fd': z
    .int()
    .min(0)
    .optional()
    .describe('read the passphrase from this file descriptor; otherwise it is asked for at the terminal'),
  keys: z.instanceof(Keyring).optional().describe('in code: what opens archives, instead of the options above'),
  findings: z.instanceof(Findings).optional().describe('in code: takes what is wrong; without it, damage is an error'),
})

type Options = z.output<typeof options>

const MOST_WORKERS = 2
/**
 * Decrypts what is encrypted with age, and passes everything else on. Errors: USAGE without the right key, DAMAGED, INCOMPLETE.
 *
 *     await definePipeline([
 *       source({ from: 'vm.vma.zst.age' }), decryptor({ identities: ['key.txt'] }), decompressor(), sink({ to: 'vm.vma' }),
 *     ]).run()
 */
export const decryptor = defineStage({
  name: 'decryptor',
  summary: 'decrypts an archive that is encrypted with age; any other passes',
  input: 'bytes',
  output: 'bytes',
  options,
  create: (given, context) => new Decryptor(given, context),
})

class Decryptor implements TransformBody<Chunk, Chunk> {
  readonly #options: Options
  readonly #context: StageContext
  readonly #workerCount: number
  #state: 'start' | 'plain' | 'payload' = 'start'
  /** What has come before the payload. */
  #before: Buffer = Buffer.alloc(0)
  #slots: PayloadSlots | null = null
  #workers: PayloadWorkers | null = null
  #order: OrderedTasks | null = null
  #slot: Slot | null = null
  /** Sealed bytes in the slot. */
  #filled = 0
  #first = 0
  /** Bytes before the first sealed chunk. */
  #start = 0
  readonly #abort = () => this.#stop(this.#context.signal.reason)

  constructor(given: Options, context: StageContext) {
    this.#options = given
    this.#context = context
    this.#workerCount = Math.min(context.threads, MOST_WORKERS)
    context.signal.addEventListener('abort', this.#abort, { once: true })
  }

  async transform(chunk: Chunk, push: Push<Chunk>): Promise<void> {
    if (this.#state === 'plain') return push(chunk)
    const [first] = chunk.buffers
    if (this.#state === 'start' && first !== undefined && isAge(first) === false && this.#before.length === 0) {
      refuseArmor(first)
      this.#state = 'plain'
      return push(chunk)
    }
    try {
      for (const bytes of chunk.buffers) await this.#add(bytes, push)
    } finally {
      chunk.release()
    }
  }

  async flush(push: Push<Chunk>): Promise<void> {
    if (this.#state === 'start') {
      if (isAge(this.#before) === true) throw headerCut(this.#before.length)
      if (this.#before.length > 0) push(new Chunk([this.#before]))
    }
    if (this.#state !== 'payload') return
    const rest = this.#filled % SEALED
    const isEmpty = this.#first === 0 && this.#filled === TAG
    const isCut = this.#filled === 0 || (rest > 0 && rest <= TAG && !isEmpty)
    if (isCut) this.#report(cutShort(this.#offsetOf(this.#first) + this.#filled))
    if (isCut) this.#filled -= rest
    if (this.#filled > 0) await this.#dispatch(!isCut)
    await this.#order!.drain()
  }

  async close(error: Error | null): Promise<void> {
    this.#context.signal.removeEventListener('abort', this.#abort)
    await this.#stop(error ?? new Error('closed'))
  }

  async #add(bytes: Uint8Array, push: Push<Chunk>): Promise<void> {
    if (this.#state === 'payload') return this.#append(bytes)
    // Few bytes come like this: what follows the first chunk of a plain archive is passed on as it is.
    if (this.#state === 'plain') return push(new Chunk([Buffer.from(bytes)]))
    const had = this.#before.length
    this.#before = Buffer.concat([this.#before, bytes.subarray(0, LONGEST_HEADER + PAYLOAD_NONCE - had)])
    if (isAge(this.#before) === false) {
      this.#state = 'plain'
      push(new Chunk([this.#before, Buffer.from(bytes.subarray(this.#before.length - had))]))
      return
    }
    const header = readAgeHeader(this.#before)
    if (header === null || this.#before.length < header.length + PAYLOAD_NONCE) return
    await this.#begin(header, push)
    await this.#append(bytes.subarray(this.#start - had))
  }

  async #begin(header: AgeHeader, push: Push<Chunk>): Promise<void> {
    const { identities, 'passphrase-fd': passphraseFd, keys } = this.#options
    const { budget, name } = this.#context
    const { key, start } = await (keys ?? new Keyring({ identities, passphraseFd })).open(header, this.#before)
    this.#start = start
    this.#slots = new PayloadSlots(budget, name, this.#workerCount)
    this.#workers = new PayloadWorkers(key, { seal: false, limit: this.#workerCount })
    this.#order = new OrderedTasks(2 * this.#workerCount, push)
    this.#state = 'payload'
    this.#before = Buffer.alloc(0)
  }

  async #append(bytes: Uint8Array): Promise<void> {
    for (let from = 0; from < bytes.byteLength; ) {
      // A full slot waits for more bytes: only then it is known that its last chunk is not the payload's last.
      if (this.#filled === SLOT) await this.#dispatch(false)
      this.#slot ??= await this.#slots!.take()
      const part = bytes.subarray(from, from + SLOT - this.#filled)
      new Uint8Array(this.#slot.memory).set(part, this.#filled)
      this.#filled += part.byteLength
      from += part.byteLength
    }
  }

  async #dispatch(isLast: boolean): Promise<void> {
    const slot = this.#slot!
    const job = { sealedBytes: this.#filled, first: this.#first, isLast }
    this.#first += SLOT / SEALED
    this.#slot = null
    this.#filled = 0
    await this.#order!.add(() => this.#open(slot, job))
  }

  /** Opens the chunks of a slot. With findings, the chunks that are not authentic are left out. */
  async #open(slot: Slot, job: { sealedBytes: number; first: number; isLast: boolean }): Promise<Chunk> {
    const broken = new Set<number>()
    try {
      for (let from = 0; from < job.sealedBytes; ) {
        const { memory, failed, isElsewhere } = await this.#workers!.run({ memory: slot.memory, from, ...job })
        slot.memory = memory
        if (failed < 0) break
        this.#report(this.#damage(failed, isElsewhere, job))
        broken.add(failed)
        from = (failed + 1 - job.first) * SEALED
      }
    } catch (error) {
      slot.lease.release()
      throw error
    }
    const views: Uint8Array[] = []
    for (let at = 0, index = job.first; at < job.sealedBytes; at += SEALED, index++) {
      const bytes = Math.min(SEALED, job.sealedBytes - at) - TAG
      if (!broken.has(index)) views.push(new Uint8Array(slot.memory, at, bytes))
    }
    return new Chunk(views, [slot.lease])
  }

  #damage(
    failed: number,
    isElsewhere: boolean,
    job: { isLast: boolean; first: number; sealedBytes: number },
  ): VmapipeError {
    const offset = this.#offsetOf(failed)
    if (!isElsewhere) return notAuthentic(offset)
    const isEnd = job.isLast && failed === job.first + Math.ceil(job.sealedBytes / SEALED) - 1
    if (!isEnd) {
      return new VmapipeError('DAMAGED', 'bytes follow the end of the encrypted archive', { offset: offset + SEALED })
    }
    return cutShort(this.#offsetOf(job.first) + job.sealedBytes)
  }

  #offsetOf(index: number): number {
    return this.#start + index * SEALED
  }

  #report(error: VmapipeError): void {
    ;(this.#options.findings ?? new NoFindings()).report(this.#context.name, error)
  }

  async #stop(error: Error): Promise<void> {
    this.#slots?.close(error)
    await this.#workers?.close()
    await this.#order?.stop(error)
    this.#slot?.lease.release()
    this.#slot = null
  }
}
