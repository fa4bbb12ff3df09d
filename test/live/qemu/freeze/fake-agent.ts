/** A guest agent that keeps to its protocol, except where a test says otherwise. */

import { type Peer, scripted } from '../../../protocol/qmp/scripted-server.ts'

type Answer = 'hang' | 'hang up' | { error: string } | { return: unknown }

export interface FakeAgentOptions {
  /** What else it does with a command; undefined: what it should. */
  answer?: (command: string, connection: number) => Answer | undefined
  /** Bytes that an earlier client did not read. */
  stale?: string
}

export class FakeAgent {
  frozen = false
  /** Commands in the order in which they came, with the connection's number: `0 guest-sync-delimited`. */
  readonly commands: string[] = []
  readonly #options: FakeAgentOptions

  constructor(options: FakeAgentOptions = {}) {
    this.#options = options
  }

  /** Gives the socket's path. */
  listen(t: { after(hook: () => void): void }): Promise<string> {
    return scripted(t, (peer, connection) => this.#serve(peer, connection))
  }

  async #serve(peer: Peer, connection: number): Promise<void> {
    if (this.#options.stale !== undefined) peer.send(this.#options.stale)
    for (let line = await peer.line(); line !== null; line = await peer.line()) {
      const { execute, arguments: args } = JSON.parse(line.replaceAll('\xff', ''))
      this.commands.push(`${connection} ${execute}`)
      const answer = this.#options.answer?.(execute, connection) ?? this.#obey(execute, args)
      if (answer === 'hang up') peer.socket.destroy()
      else if (answer !== 'hang') this.#send(peer, execute, answer)
    }
  }

  #send(peer: Peer, command: string, answer: Exclude<Answer, string>): void {
    if (command === 'guest-sync-delimited') peer.socket.write(Buffer.of(0xff))
    peer.send('error' in answer ? { error: { class: 'GenericError', desc: answer.error } } : answer)
  }

  #obey(command: string, args: any): Exclude<Answer, string> {
    switch (command) {
      case 'guest-sync-delimited':
        return { return: args.id }
      case 'guest-fsfreeze-status':
        return { return: this.frozen ? 'frozen' : 'thawed' }
      case 'guest-fsfreeze-freeze':
        this.frozen = true
        return { return: 2 }
      case 'guest-fsfreeze-thaw': {
        const thawed = this.frozen ? 2 : 0
        this.frozen = false
        return { return: thawed }
      }
      default:
        return { error: `The command ${command} has not been found` }
    }
  }
}
