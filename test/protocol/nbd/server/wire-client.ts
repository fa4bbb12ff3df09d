/** The client's end of a connection by hand, so that it can say what no client would. */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import * as nbd from '../../../../src/protocol/nbd/constants.ts'
import { encodeGo, encodeMetaContext, encodeOption, encodeRequest } from '../../../../src/protocol/nbd/requests.ts'
import type { NbdExport } from '../../../../src/protocol/nbd/server/export.ts'
import { NbdServer, type NbdServerOptions } from '../../../../src/protocol/nbd/server/server.ts'
import { tmpDir } from '../../../support/tmp.ts'

export interface Served {
  server: NbdServer
  path: string
  connect(): Promise<WireClient>
}

/** A server on a unix socket, closed with the test. */
export async function serve(
  t: Pick<TestContext, 'after'>,
  exports: readonly NbdExport[],
  options?: NbdServerOptions,
): Promise<Served> {
  const server = new NbdServer(exports, options)
  const path = join(tmpDir(t), 'nbd')
  await server.listenOnPath(path)
  t.after(() => server.close({ grace: 100 }).catch(() => {}))
  return { server, path, connect: () => WireClient.connect(path) }
}

export interface Reply {
  /** Of a simple reply, or of an error chunk; 0 is success. */
  errno: number
  cookie: number
  /** Of a chunk; null for a simple reply. */
  type: number | null
  done: boolean
  payload: Buffer
}

export class WireClient {
  readonly socket: Socket
  #chunks: Buffer[] = []
  #buffered = 0
  #more: () => void = () => {}
  #ended = false
  #structured = false

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (bytes) => {
      this.#chunks.push(bytes)
      this.#buffered += bytes.length
      this.#more()
    })
    for (const event of ['end', 'close', 'error']) {
      socket.on(event, () => {
        this.#ended = true
        this.#more()
      })
    }
  }

  static async connect(path: string): Promise<WireClient> {
    const socket = connect(path)
    await once(socket, 'connect')
    return new WireClient(socket)
  }

  /** Bytes that have come and were not taken. */
  get buffered(): number {
    return this.#buffered
  }

  async take(bytes: number): Promise<Buffer> {
    while (this.#buffered < bytes) {
      if (this.#ended) throw new Error(`the connection ended with ${this.#buffered} of ${bytes} bytes`)
      await new Promise<void>((resolve) => {
        this.#more = resolve
      })
    }
    const taken: Buffer[] = []
    for (let left = bytes; left > 0; ) {
      const chunk = this.#chunks[0]
      taken.push(chunk.subarray(0, left))
      if (chunk.length > left) this.#chunks[0] = chunk.subarray(left)
      else this.#chunks.shift()
      left -= Math.min(left, chunk.length)
    }
    this.#buffered -= bytes
    return taken.length === 1 ? taken[0] : Buffer.concat(taken)
  }

  /** Waits for the server to hang up. */
  async ended(): Promise<void> {
    while (!this.#ended) {
      await new Promise<void>((resolve) => {
        this.#more = resolve
      })
    }
  }

  send(...bytes: Uint8Array[]): void {
    this.socket.write(Buffer.concat(bytes))
  }

  /** Takes the greeting and says which flags we have. */
  async greet(flags = nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES): Promise<Buffer> {
    const greeting = await this.take(18)
    const answer = Buffer.alloc(4)
    answer.writeUInt32BE(flags)
    this.send(answer)
    return greeting
  }

  /** All replies to one option. */
  async option(option: number, data?: Uint8Array): Promise<{ type: number; data: Buffer }[]> {
    this.send(encodeOption(option, data))
    const replies = []
    for (;;) {
      const header = await this.take(20)
      if (header.readUInt32BE(8) !== option) throw new Error(`a reply to option ${header.readUInt32BE(8)}`)
      const type = header.readUInt32BE(12)
      replies.push({ type, data: await this.take(header.readUInt32BE(16)) })
      if (type === nbd.REP_ACK || type >= nbd.REP_FLAG_ERROR) return replies
    }
  }

  /** The whole handshake up to the transmission. */
  async go(name: string, { structured = true } = {}): Promise<this> {
    await this.greet()
    if (structured) {
      await this.option(nbd.OPT_STRUCTURED_REPLY)
      await this.option(nbd.OPT_SET_META_CONTEXT, encodeMetaContext(name, [nbd.BASE_ALLOCATION]))
    }
    const replies = await this.option(nbd.OPT_GO, encodeGo(name, [nbd.INFO_BLOCK_SIZE]))
    if (replies.at(-1)!.type !== nbd.REP_ACK) throw new Error(`refused: ${replies.at(-1)!.data}`)
    this.#structured = structured
    return this
  }

  /** A request as bytes; cookies are small numbers here. */
  request(type: number, offset: number, length: number, { cookie = 1, flags = 0 } = {}): Buffer {
    return encodeRequest(type, flags, { high: 0xc0ffee, low: cookie }, offset, length)
  }

  /** One reply, or one chunk of it. `length` bytes of data follow a simple reply that says success. */
  async reply(length = 0): Promise<Reply> {
    const start = await this.take(nbd.SIMPLE_REPLY_BYTES)
    if (start.readUInt32BE(8) !== 0xc0ffee) throw new Error('the cookie has changed')
    const cookie = start.readUInt32BE(12)
    if (start.readUInt32BE(0) === nbd.SIMPLE_REPLY_MAGIC) {
      const errno = start.readUInt32BE(4)
      const payload = errno === 0 && !this.#structured ? await this.take(length) : Buffer.alloc(0)
      return { errno, cookie, type: null, done: true, payload }
    }
    if (start.readUInt32BE(0) !== nbd.STRUCTURED_REPLY_MAGIC) throw new Error('not a reply')
    const payload = await this.take((await this.take(4)).readUInt32BE(0))
    const type = start.readUInt16BE(6)
    const errno = type & nbd.REPLY_TYPE_FLAG_ERROR ? payload.readUInt32BE(0) : 0
    return { errno, cookie, type, done: (start.readUInt16BE(4) & nbd.REPLY_FLAG_DONE) !== 0, payload }
  }

  async ask(type: number, offset: number, length: number, flags = 0, payload = Buffer.alloc(0)): Promise<Reply> {
    this.send(this.request(type, offset, length, { flags }), payload)
    return this.reply(type === nbd.CMD_READ ? length : 0)
  }
}
