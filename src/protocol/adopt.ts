import { Socket, type SocketConstructorOpts } from 'node:net'
import { VmapipeError } from '../core/errors.ts'

type OnRead = NonNullable<SocketConstructorOpts['onread']>

/**
 * Makes an accepted socket read into memory of our choice, so that the kernel writes payload directly to its place. Node has `onread`
 * only for sockets that connect, not for those that a server accepts. So the accepted socket hands its handle to a new one. It must
 * not have been read from (`pauseOnConnect`).
 */
export function adopt(accepted: Socket, onread: OnRead): Socket {
  const owner = accepted as unknown as { _handle: unknown }
  const handle = owner._handle
  if (!handle) throw new VmapipeError('FAILED', 'the connection has no handle')
  owner._handle = null
  accepted.destroy()
  return new Socket({ handle, onread, allowHalfOpen: true } as SocketConstructorOpts)
}

/** The bytes that were written to the socket and that the kernel has not taken. */
export function unsentBytes(socket: Socket): number {
  return (socket as unknown as { _handle: { writeQueueSize: number } | null })._handle?.writeQueueSize ?? 0
}
