/** The way to a QMP server: a unix socket, or virsh. It carries messages; what they mean is the client's business. */

import type { QmpMessage } from './message.ts'

export interface QmpCommand {
  execute: string
  arguments?: object
}

export interface QmpTransport {
  /** Names the server in error messages. */
  readonly name: string
  /** Whether QEMU's events come. If not, a caller asks for the state again and again. */
  readonly hasEvents: boolean
  /** The answer comes as a message with the same id. */
  send(id: number, command: QmpCommand): void
  /** Nobody waits for this command any more, which was sent and has no answer. */
  abandon?(id: number): void
  /** Lets go of the server; nothing is reported any more. May be called more than once. */
  close(): void
}

export interface TransportListener {
  /** From now on the server has the command: its time limit begins. */
  sent(id: number): void
  message(message: QmpMessage): void
  /** The command did not get through, or its answer did not get back; others may. */
  failed(id: number, error: unknown): void
  /** The transport has ended, and why; nothing comes after it. */
  ended(error: unknown): void
}
