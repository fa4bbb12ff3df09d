import { Socket, type SocketConstructorOpts } from 'node:net'
import { VmapipeError } from '../core/errors.ts'

type OnRead = NonNullable<SocketConstructorOpts['onread']>

/**
 * A socket that was accepted, reading into memory of our own choosing: payload then goes from the kernel straight to
 * where it belongs. Node offers `onread` to sockets that connect, not to those that a server accepts: so the accepted
 * one hands its handle to a new one and is done. It must not have been read from (`pauseOnConnect`).
 */
export function adopt(accepted: Socket, onread: OnRead): Socket {
  const owner = accepted as unknown as { _handle: unknown }
  const handle = owner._handle
  if (!handle) throw new VmapipeError('FAILED', 'the connection has no handle')
  owner._handle = null
  accepted.destroy()
  return new Socket({ handle, onread, allowHalfOpen: true } as SocketConstructorOpts)
}

/** Bytes that were given to the socket and that the kernel has not taken. */
export function unsentBytes(socket: Socket): number {
  return (socket as unknown as { _handle: { writeQueueSize: number } | null })._handle?.writeQueueSize ?? 0
}
