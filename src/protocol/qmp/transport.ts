/** Carries messages to a QMP server and back, by a unix socket or by virsh. The client knows what they mean. */

import type { QmpMessage } from './message.ts'

export interface QmpCommand {
  execute: string
  arguments?: object
}

/**
 * How a caller learns what becomes of the guest. `events`: QEMU tells. `asked`: a caller asks again and again, which costs a command each
 * time. `shared`: the same, but each question keeps other clients of the monitor waiting, so it is asked seldom.
 */
export type Watching = 'events' | 'asked' | 'shared'

export interface QmpTransport {
  /** Names the server in error messages. */
  readonly name: string
  readonly watching: Watching
  /** The answer comes as a message with the same id. */
  send(id: number, command: QmpCommand): void
  /** Notes that the caller does not wait for this command any more, which has no answer. */
  abandon?(id: number): void
  /** Keeps other clients out until the function that it returns is called. A transport that is connected all the time has no need of it. */
  keep?(): () => void
  /** Ends the connection. Nothing is reported any more. May be called more than once. */
  close(): void
}

export interface TransportListener {
  /** The server has the command now: its time limit begins. */
  sent(id: number): void
  message(message: QmpMessage): void
  /** The command or its answer was lost. Other commands may succeed. */
  failed(id: number, error: unknown): void
  /** The transport has ended, and why. Nothing comes after it. */
  ended(error: unknown): void
}
