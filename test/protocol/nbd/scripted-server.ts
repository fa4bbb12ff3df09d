/** An NBD server that a test scripts message by message, so that it can lie. */

import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import * as nbd from '../../../src/protocol/nbd/constants.ts'
import type { NbdAddress } from '../../../src/protocol/nbd/uri.ts'
import { tmpDir } from '../../support/tmp.ts'

export const u16 = (value: number) => Buffer.from([value >> 8, value & 255])
export const u32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
export const u64 = (value: number | bigint) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

export interface Received {
  flags: number
  type: number
  cookie: Buffer
  offset: number
  length: number
}

/** The server's end of one connection. */
export class Peer {
  readonly socket: Socket
  #bytes = Buffer.alloc(0)
  #wake = () => {}

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes])
      this.#wake()
    })
  }

  send(...parts: Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts))
  }

  async read(length: number): Promise<Buffer> {
    while (this.#bytes.length < length) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const bytes = this.#bytes.subarray(0, length)
    this.#bytes = this.#bytes.subarray(length)
    return bytes
  }

  async option(): Promise<{ option: number; data: Buffer }> {
    const header = await this.read(16)
    return { option: header.readUInt32BE(8), data: await this.read(header.readUInt32BE(12)) }
  }

  reply(option: number, type: number, ...data: Uint8Array[]): void {
    const all = Buffer.concat(data)
    this.send(u64(nbd.OPTION_REPLY_MAGIC), u32(option), u32(type), u32(all.length), all)
  }

  greet(flags = nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES): void {
    this.send(u64(nbd.NBDMAGIC), u64(nbd.IHAVEOPT), u16(flags))
  }

  /** An honest handshake. */
  async agree({
    size = 2 ** 20,
    structured = true,
    flags = nbd.FLAG_HAS_FLAGS | nbd.FLAG_SEND_FLUSH,
  } = {}): Promise<void> {
    this.greet()
    await this.read(4)
    for (;;) {
      const { option } = await this.option()
      if (option === nbd.OPT_STRUCTURED_REPLY) this.reply(option, structured ? nbd.REP_ACK : nbd.REP_ERR_UNSUP)
      if (option === nbd.OPT_SET_META_CONTEXT) {
        this.reply(option, nbd.REP_META_CONTEXT, u32(5), Buffer.from(nbd.BASE_ALLOCATION))
        this.reply(option, nbd.REP_ACK)
      }
      if (option === nbd.OPT_GO) {
        this.reply(option, nbd.REP_INFO, u16(nbd.INFO_EXPORT), u64(size), u16(flags))
        this.reply(option, nbd.REP_INFO, u16(nbd.INFO_BLOCK_SIZE), u32(1), u32(4096), u32(2 ** 25))
        this.reply(option, nbd.REP_ACK)
        return
      }
    }
  }

  async request(): Promise<Received> {
    const header = await this.read(28)
    const offset = Number(header.readBigUInt64BE(16))
    const [flags, type, length] = [header.readUInt16BE(4), header.readUInt16BE(6), header.readUInt32BE(24)]
    return { flags, type, cookie: Buffer.from(header.subarray(8, 16)), offset, length }
  }

  simple(cookie: Uint8Array, errno = 0, ...data: Uint8Array[]): void {
    this.send(u32(nbd.SIMPLE_REPLY_MAGIC), u32(errno), cookie, ...data)
  }

  chunk(cookie: Uint8Array, flags: number, type: number, ...data: Uint8Array[]): void {
    const all = Buffer.concat(data)
    this.chunkHeader(cookie, flags, type, all.length)
    this.send(all)
  }

  chunkHeader(cookie: Uint8Array, flags: number, type: number, length: number): void {
    this.send(u32(nbd.STRUCTURED_REPLY_MAGIC), u16(flags), u16(type), cookie, u32(length))
  }
}

/** Listens, and runs the script for each connection. An error of the script's is the test's. */
export async function scripted(t: TestContext, script: (peer: Peer) => unknown): Promise<NbdAddress> {
  const socketPath = join(tmpDir(t), 's')
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    void script(new Peer(socket))
  })
  await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { socketPath, exportName: 'disk' }
}
