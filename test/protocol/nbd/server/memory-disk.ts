/** A disk in memory that notes what is asked of it, and does it when the test says so. */

import type { Done, ServedDisk } from '../../../../src/protocol/nbd/server/export.ts'

export class MemoryDisk implements ServedDisk {
  readonly size: number
  readonly readOnly: boolean
  readonly content: Buffer
  /** "write 0+4096 fua", in the order in which they were asked for. */
  readonly calls: string[] = []
  /** Waited for before each call is done; may throw. */
  before: (call: string) => Promise<void> | undefined = () => undefined

  constructor(size: number, readOnly = false) {
    this.size = size
    this.readOnly = readOnly
    this.content = Buffer.alloc(size)
  }

  read(buffer: Uint8Array, offset: number): Done {
    return this.#do(`read ${offset}+${buffer.byteLength}`, () =>
      buffer.set(this.content.subarray(offset, offset + buffer.byteLength)),
    )
  }

  write(buffers: readonly Uint8Array[], offset: number, options: { fua?: boolean } = {}): Done {
    const bytes = Buffer.concat(buffers)
    return this.#do(`write ${offset}+${bytes.length}${flags(options)}`, () => bytes.copy(this.content, offset))
  }

  zero(offset: number, length: number, options: { fua?: boolean; noHole?: boolean; fast?: boolean } = {}): Done {
    return this.#do(`zero ${offset}+${length}${flags(options)}`, () => this.content.fill(0, offset, offset + length))
  }

  trim(offset: number, length: number, options: { fua?: boolean } = {}): Done {
    return this.#do(`trim ${offset}+${length}${flags(options)}`, () => this.content.fill(0, offset, offset + length))
  }

  flush(): Done {
    return this.#do('flush', () => {})
  }

  prefetch(offset: number, length: number): Done {
    return this.#do(`prefetch ${offset}+${length}`, () => {})
  }

  async *map(offset: number, length: number) {
    this.calls.push(`map ${offset}+${length}`)
    for (let at = offset; at < offset + length; at += 65536) {
      const end = Math.min(at + 65536, offset + length)
      yield { offset: at, length: end - at, zero: this.content.subarray(at, end).every((byte) => byte === 0) }
    }
  }

  #do(call: string, work: () => void): Done {
    this.calls.push(call)
    const wait = this.before(call)
    if (wait === undefined) {
      work()
      return undefined
    }
    return wait.then(work)
  }
}

function flags(options: Record<string, boolean | undefined>): string {
  return Object.entries(options)
    .filter(([, set]) => set)
    .map(([name]) => ` ${name}`)
    .join('')
}
