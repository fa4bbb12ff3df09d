/**
 * QMP over a unix socket of QEMU: `-qmp unix:PATH,server=on,wait=off`, which serves one client at a time, or one that QEMU was started
 * with.
 */

import type { Socket } from 'node:net'
import { VmapipeError } from '../../core/errors.ts'
import { LineSocket } from './line-socket.ts'
import { parseMessage } from './message.ts'
import type { QmpCommand, QmpTransport, TransportListener } from './transport.ts'

export class SocketTransport implements QmpTransport {
  readonly name: string
  readonly watching = 'events'
  readonly #socket: LineSocket
  readonly #listener: TransportListener

  /** Connects to a path, or takes a socket that is connected. The greeting tells that it worked, or `ended` that it did not. */
  constructor(to: string | Socket, listener: TransportListener) {
    this.name = typeof to === 'string' ? to : 'the monitor of QEMU'
    this.#listener = listener
    this.#socket = new LineSocket(to, {
      line: (text) => listener.message(parseMessage(text)),
      ended: (error, isMidway) => listener.ended(error === null ? hungUp(isMidway) : unreachable(error)),
    })
  }

  send(id: number, command: QmpCommand): void {
    this.#socket.send({ ...command, id })
    this.#listener.sent(id)
  }

  close(): void {
    this.#socket.close()
  }
}

export function hungUp(isMidway: boolean): VmapipeError {
  const middle = isMidway ? ' in the middle of a message' : ''
  return new VmapipeError('FAILED', `the QMP server closed the connection${middle}`)
}

export function unreachable(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code !== 'ENOENT' && code !== 'ECONNREFUSED') return error
  const what = code === 'ENOENT' ? 'there is no such socket' : 'no server listens there'
  const hint = 'does the guest run, with -qmp unix:PATH,server=on,wait=off?'
  return new VmapipeError('FAILED', what, { hint, cause: error })
}
