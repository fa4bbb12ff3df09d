/**
 * Writes an archive as an object of an S3 store, in parts that are sent side by side while the next ones fill. Nobody sees the object before it is
 * complete: then the store puts it together from its parts. An upload that fails is aborted, because parts that stay cost money.
 */

import { createHash, type Hash, randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { Slab } from '../../../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { formatBytes } from '../../../core/size.ts'
import type { ArchiveTarget, TargetOptions } from '../endpoint.ts'
import { S3Client } from './client.ts'
import { objectHeaders, RETAIN_UNTIL } from './object-options.ts'
import { abortUpload, documentOf, listUploads, lockObject, MARK, needed, statObject } from './objects.ts'
import { MOST_PARTS, type PartMemory, partMemory } from './part-size.ts'
import { S3Error } from './s3-error.ts'
import { type S3Place, s3Name } from './s3-url.ts'
import { escapeXml } from './xml.ts'

/** A part that fills. */
interface Filling {
  slab: Slab
  filled: number
  md5: Hash
}

/** How often aborting an upload is tried: the user waits for it. */
const ABORT_ATTEMPTS = 3

export class S3Target implements ArchiveTarget {
  readonly #place: S3Place
  readonly #name: string
  readonly #options: TargetOptions
  readonly #headers: Record<string, string>
  readonly #warn: (message: string) => void
  /** Ends the requests: of the run, or because a part has failed. */
  readonly #ending = new AbortController()
  readonly #onAbort = () => this.#ending.abort(new VmapipeError('ABORTED', 'aborted'))
  /** Tells our object from one that somebody else has put there. */
  readonly #mark = randomUUID()
  #client: S3Client | null = null
  #upload: string | null = null
  #memory: PartMemory | null = null
  #filling: Filling | null = null
  #etags: string[] = []
  readonly #inFlight = new Set<Promise<void>>()
  #failure: VmapipeError | null = null
  #written = 0

  constructor(place: S3Place, options: TargetOptions) {
    setMaxListeners(0, this.#ending.signal)
    this.#place = place
    this.#name = s3Name(place)
    this.#options = options
    this.#headers = objectHeaders(options.object ?? {})
    this.#warn = options.warn ?? (() => {})
  }

  async open(): Promise<void> {
    const { signal, budget, expected } = this.#options
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (signal?.aborted) this.#onAbort()
    const { bucket, key } = this.#place
    this.#client = await S3Client.open(bucket, { warn: this.#warn })
    await this.#refuseIfThere()
    await this.#nameLeftUploads()
    this.#memory = partMemory({ budget, expected: expected?.() ?? 0, warn: this.#warn })
    const answer = await this.#ask({ method: 'POST', key, query: { uploads: '' }, headers: this.#objectHeaders })
    this.#upload = needed(documentOf(answer, 'InitiateMultipartUploadResult'), 'UploadId')
  }

  async write(buffers: readonly Uint8Array[]): Promise<void> {
    for (const buffer of buffers) {
      for (let at = 0; at < buffer.byteLength; ) {
        if (this.#filling === null) this.#filling = await this.#nextPart()
        const part = this.#filling
        const bytes = buffer.subarray(at, at + part.slab.buffer.byteLength - part.filled)
        part.slab.buffer.set(bytes, part.filled)
        // The checksum is made while the bytes are in the processor's cache.
        part.md5.update(bytes)
        part.filled += bytes.byteLength
        at += bytes.byteLength
        this.#written += bytes.byteLength
        if (part.filled === part.slab.buffer.byteLength) this.#sendPart()
      }
    }
    if (this.#failure !== null) throw this.#failure
  }

  /** All parts are in the store when it resolves, but for one that is the whole archive. */
  async settle(): Promise<void> {
    if (this.#filling !== null && this.#etags.length > 0) this.#sendPart()
    await Promise.all(this.#inFlight)
    if (this.#failure !== null) throw this.#failure
  }

  async finish(): Promise<void> {
    await this.settle()
    if (this.#etags.length === 0) await this.#putWhole()
    else await this.#complete()
    this.#upload = null
    await this.#lock()
    await this.abort()
  }

  async abort(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#failure ??= new VmapipeError('ABORTED', 'aborted')
    this.#ending.abort(this.#failure)
    await Promise.all(this.#inFlight)
    this.#filling?.slab.release()
    this.#filling = null
    const id = this.#upload
    this.#upload = null
    if (id !== null) {
      await abortUpload(this.#client!, { key: this.#place.key, id }, ABORT_ATTEMPTS).catch((error) => {
        this.#warn(
          `${asVmapipeError(error).text}: the parts of ${this.#name} stay in the store. ${howToAbort(this.#place)}`,
        )
      })
    }
    this.#client?.close()
  }

  get #objectHeaders(): Record<string, string> {
    return { ...this.#headers, [MARK]: this.#mark, 'content-type': 'application/octet-stream' }
  }

  #ask(request: Parameters<S3Client['ask']>[0]) {
    return this.#client!.ask({ signal: this.#ending.signal, ...request })
  }

  /** Throws FAILED if the object is there. A store may forbid to look: then the condition of the last request has to do. */
  async #refuseIfThere(): Promise<void> {
    if (this.#options.force) return
    const found = await statObject(this.#client!, this.#place.key, this.#ending.signal).catch((error) => {
      if (error instanceof S3Error && error.status === 403 && error.reason === '') return null
      throw error
    })
    if (found !== null) throw exists(this.#name)
  }

  /** Names uploads of the same archive that were never finished. One may be under way, so it aborts none. */
  async #nameLeftUploads(): Promise<void> {
    const { key } = this.#place
    try {
      for await (const { key: other, begun } of listUploads(this.#client!, key, this.#ending.signal)) {
        if (other !== key) continue
        this.#warn(`an upload of ${this.#name} that was begun at ${begun} is not finished. ${howToAbort(this.#place)}`)
      }
    } catch (error) {
      // Not all that may write may also list, and not all stores can list.
      if (
        !(error instanceof S3Error) ||
        error.reason === 'NoSuchBucket' ||
        /AccessKey|Signature|Token|Time/.test(error.reason)
      )
        throw error
    }
  }

  async #nextPart(): Promise<Filling> {
    if (this.#failure !== null) throw this.#failure
    if (this.#etags.length >= MOST_PARTS) {
      throw new VmapipeError(
        'FAILED',
        `${this.#name}: the archive is larger than ${MOST_PARTS} parts of ${formatBytes(this.#memory!.partBytes)}`,
        {
          hint: 'allow a larger --buffer: parts are then larger',
        },
      )
    }
    const { budget, partBytes } = this.#memory!
    // The memory is for this many parts, so this waits until one of them has been sent.
    const slab = await budget.take(partBytes)
    if (this.#failure === null) return { slab, filled: 0, md5: createHash('md5') }
    slab.release()
    throw this.#failure
  }

  #sendPart(): void {
    const { slab, filled, md5 } = this.#filling!
    this.#filling = null
    const index = this.#etags.push('') - 1
    const sending = this.#send(index, slab.buffer.subarray(0, filled), md5.digest('base64'))
      .catch((error) => {
        this.#failure ??= asVmapipeError(error)
        this.#ending.abort(this.#failure)
      })
      .finally(() => {
        slab.release()
        this.#inFlight.delete(sending)
      })
    this.#inFlight.add(sending)
  }

  async #send(index: number, bytes: Uint8Array, md5: string): Promise<void> {
    const { headers } = await this.#ask({
      method: 'PUT',
      key: this.#place.key,
      query: { partNumber: String(index + 1), uploadId: this.#upload! },
      headers: { 'content-md5': md5 },
      body: [bytes],
    })
    if (!headers.etag || headers.etag.length > 256)
      throw new VmapipeError('FAILED', `${this.#name}: the store's answer has no ETag`)
    this.#etags[index] = headers.etag
  }

  /** Makes the object. If the answer is lost on the way, it looks whether the object that is there is ours. */
  async #complete(): Promise<void> {
    const parts = this.#etags.map(
      (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`,
    )
    const body = Buffer.from(`<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`)
    await this.#publish(
      { method: 'POST', query: { uploadId: this.#upload! }, body: [body], isSlow: true },
      async (answer) => {
        // An error may follow a status of 200: the store answers before it has done all.
        documentOf(answer, 'CompleteMultipartUploadResult')
      },
    )
  }

  /** An archive of one part needs no upload of parts, and more stores check then that nothing is replaced. */
  async #putWhole(): Promise<void> {
    await abortUpload(this.#client!, { key: this.#place.key, id: this.#upload! })
    const part = this.#filling
    const body = part === null ? [] : [part.slab.buffer.subarray(0, part.filled)]
    const md5 = (part?.md5 ?? createHash('md5')).digest('base64')
    await this.#publish({ method: 'PUT', headers: { ...this.#objectHeaders, 'content-md5': md5 }, body })
  }

  /** Makes sure that the store has locked the object if the user wants that: some ignore it when the upload begins. */
  async #lock(): Promise<void> {
    const { retainUntil } = this.#options.object ?? {}
    if (retainUntil === undefined) return
    try {
      await lockObject(this.#client!, this.#place.key, this.#headers[RETAIN_UNTIL])
    } catch (error) {
      const failure = asVmapipeError(error)
      throw new VmapipeError('FAILED', `${this.#name} is complete, but it is not locked: ${failure.message}`, {
        hint: failure.hint ?? 'was the bucket made for Object Lock?',
      })
    }
  }

  async #publish(
    request: Omit<Parameters<S3Client['ask']>[0], 'key'>,
    check: (answer: Awaited<ReturnType<S3Client['ask']>>) => Promise<void> = async () => {},
  ): Promise<void> {
    await this.#refuseIfThere()
    const { key } = this.#place
    const send = async (conditions: Record<string, string>) =>
      check(await this.#ask({ ...request, key, headers: { ...request.headers, ...conditions } }))
    try {
      try {
        await send(this.#options.force ? {} : { 'if-none-match': '*' })
      } catch (error) {
        if (this.#options.force || !(error instanceof S3Error) || error.status !== 501) throw error
        this.#warn(
          `${this.#name}: this store cannot refuse to replace an object; one that appeared in the last second would be replaced`,
        )
        await this.#refuseIfThere()
        await send({})
      }
    } catch (error) {
      if (await this.#isOurs()) return
      if (error instanceof S3Error && (error.status === 412 || error.status === 409)) throw exists(this.#name)
      throw error
    }
  }

  async #isOurs(): Promise<boolean> {
    const found = await statObject(this.#client!, this.#place.key, this.#ending.signal).catch(() => null)
    return found?.mark === this.#mark && found.size === this.#written
  }
}

function exists(name: string): VmapipeError {
  return new VmapipeError('FAILED', `'${name}' exists and was not overwritten`, {
    hint: 'choose another name, or allow it with --force',
  })
}

function howToAbort({ bucket }: S3Place): string {
  return `If no run is writing it, abort it: vmapipe list s3://${bucket}/ --abort-uploads`
}
