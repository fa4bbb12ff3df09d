/** QMP over a unix socket of QEMU: `-qmp unix:PATH,server=on,wait=off`. It serves one client at a time. */

import { connect, type Socket } from 'node:net'
import { VmapipeError } from '../../core/errors.ts'
import { LineSplitter } from './lines.ts'
import { parseMessage } from './message.ts'
import type { QmpCommand, QmpTransport, TransportListener } from './transport.ts'

export class SocketTransport implements QmpTransport {
  readonly name: string
  readonly hasEvents = true
  readonly #socket: Socket
  readonly #lines = new LineSplitter()
  readonly #listener: TransportListener
  #ended = false

  /** Connects; whether that worked shows when the greeting comes, or the end. */
  constructor(path: string, listener: TransportListener) {
    this.name = path
    this.#listener = listener
    this.#socket = connect({ path })
    this.#socket.on('data', (chunk) => this.#received(chunk))
    this.#socket.on('error', (error) => this.#end(unreachable(error)))
    this.#socket.on('end', () => this.#end(hungUp(this.#lines.pending)))
  }

  send(id: number, command: QmpCommand): void {
    this.#socket.write(`${JSON.stringify({ ...command, id })}\n`)
    this.#listener.sent(id)
  }

  close(): void {
    this.#ended = true
    this.#socket.destroy()
  }

  #received(chunk: Buffer): void {
    try {
      for (const line of this.#lines.push(chunk)) {
        if (this.#ended) return
        if (line.trim() !== '') this.#listener.message(parseMessage(line))
      }
    } catch (error) {
      this.#end(error)
    }
  }

  #end(error: unknown): void {
    if (this.#ended) return
    this.close()
    this.#listener.ended(error)
  }
}

function hungUp(pending: number): VmapipeError {
  const middle = pending > 0 ? ' in the middle of a message' : ''
  return new VmapipeError('FAILED', `the QMP server closed the connection${middle}`)
}

function unreachable(error: NodeJS.ErrnoException): Error {
  const nobody = error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
  if (!nobody) return error
  const what = error.code === 'ENOENT' ? 'there is no such socket' : 'nobody listens there'
  const hint = 'does the guest run, with -qmp unix:PATH,server=on,wait=off?'
  return new VmapipeError('FAILED', what, { hint, cause: error })
}
