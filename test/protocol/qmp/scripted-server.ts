/** A server of JSON lines (QMP, or a guest agent) that a test scripts message by message, so that it can lie. */

import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { tmpDir } from '../../support/tmp.ts'

export const GREETING = {
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: ' (Debian)' }, capabilities: ['oob'] },
}

/** The server's end of one connection. */
export class Peer {
  readonly socket: Socket
  #text = ''
  #wake = () => {}
  #ended = false

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      this.#text += bytes.toString('latin1')
      this.#wake()
    })
    socket.on('close', () => {
      this.#ended = true
      this.#wake()
    })
  }

  /** Text as it is, or an object as a line. */
  send(message: object | string): void {
    const line = typeof message === 'string' || Buffer.isBuffer(message) ? message : `${JSON.stringify(message)}\r\n`
    this.socket.write(line)
  }

  /** The next line that came; null when the connection is gone. */
  async line(): Promise<string | null> {
    while (!this.#text.includes('\n')) {
      if (this.#ended) return null
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const end = this.#text.indexOf('\n') + 1
    const line = this.#text.slice(0, end)
    this.#text = this.#text.slice(end)
    return line
  }

  /** The next command. Never comes when the connection is gone. */
  async command(): Promise<{ execute: string; arguments?: any; id?: number }> {
    const line = await this.line()
    return line === null ? new Promise(() => {}) : JSON.parse(line)
  }

  /** An honest beginning. */
  async negotiate(): Promise<void> {
    this.send(GREETING)
    const { id } = await this.command()
    this.send({ return: {}, id })
  }
}

/** Listens, and runs the script for each connection, with its number from 0 on. Gives the socket's path. */
export async function scripted(
  t: { after(hook: () => void): void },
  script: (peer: Peer, connection: number) => unknown,
): Promise<string> {
  const path = join(tmpDir(t), 's')
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    void script(new Peer(socket), sockets.size - 1)
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return path
}
