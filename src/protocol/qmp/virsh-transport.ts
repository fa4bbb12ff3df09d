/**
 * QMP by way of libvirt, for guests whose monitor only libvirt can use. One virsh runs all commands as `qemu-monitor-command`, one
 * after the other. Events do not come this way.
 *
 * If a virsh ends, or is killed because it does not answer, the command that it was running fails: nobody knows whether it was
 * carried out. Those behind it were not begun. They go to another virsh, because a guest may wait for its `cont`.
 */

import { execFile } from 'node:child_process'
import { VmapipeError } from '../../core/errors.ts'
import { parseMessage, violation } from './message.ts'
import type { QmpCommand, QmpTransport, TransportListener } from './transport.ts'
import { environment, isPlain, notInstalled, quoted, VirshShell, virshError } from './virsh-shell.ts'

/** Milliseconds that virsh may take to tell the UUID of a domain. */
const UUID_MS = 30_000

interface Query {
  id: number
  /** The command as virsh takes it, without the domain. */
  words: string
}

export class VirshTransport implements QmpTransport {
  readonly name: string
  readonly watching = 'asked'
  readonly #listener: TransportListener
  readonly #uri: string | undefined
  readonly #stop = new AbortController()
  /** The commands without an answer. virsh is running the first one. */
  readonly #queue: Query[] = []
  /** The name or UUID of the domain for virsh; null until it is known. */
  #domain: string | null
  #shell: VirshShell | null = null
  /** Whether a virsh has ended, and none has answered since. */
  #suspect = false

  constructor(domain: string, listener: TransportListener, uri?: string) {
    this.#uri = uri
    this.name = `libvirt domain ${domain}`
    this.#listener = listener
    this.#domain = isPlain(domain) ? domain : null
    if (this.#domain === null) void this.#identify(domain)
  }

  send(id: number, command: QmpCommand): void {
    const query = { id, words: `--cmd=${quoted(asciiJson(command))}` }
    this.#queue.push(query)
    if (this.#queue.length === 1) this.#listener.sent(id)
    if (this.#domain === null) return
    if (this.#shell === null) this.#start()
    else this.#ask(query)
  }

  abandon(id: number): void {
    if (this.#queue[0]?.id === id) this.#shell?.kill()
  }

  close(): void {
    this.#stop.abort()
    this.#shell?.kill()
  }

  #start(): void {
    this.#shell = new VirshShell(
      { answered: (text) => this.#answered(text), ended: (error) => this.#ended(error) },
      this.#uri,
    )
    for (const query of this.#queue) this.#ask(query)
  }

  #ask({ words }: Query): void {
    // With an equals sign, a name that begins with a dash is not taken for an option.
    this.#shell!.ask(`qemu-monitor-command --domain=${quoted(this.#domain!)} ${words}`)
  }

  #answered(text: string): void {
    if (this.#stop.signal.aborted) return
    this.#suspect = false
    const { id } = this.#queue.shift()!
    try {
      const answer = answerIn(text)
      // libvirt uses ids of its own.
      this.#listener.message({ ...answer, id })
    } catch (error) {
      // If libvirtd is being restarted, the next command may succeed.
      if (isGone(error)) this.#giveUp(error)
      else this.#listener.failed(id, error)
    }
    this.#next()
  }

  #ended(error: VmapipeError): void {
    if (this.#stop.signal.aborted) return
    this.#shell = null
    const lost = this.#queue.shift()
    if (lost === undefined) return
    if (this.#suspect || isGone(error)) {
      this.#giveUp(error)
      return
    }
    this.#suspect = true
    this.#listener.failed(lost.id, error)
    if (this.#queue.length > 0) this.#start()
    this.#next()
  }

  #next(): void {
    if (!this.#stop.signal.aborted && this.#queue.length > 0) this.#listener.sent(this.#queue[0].id)
  }

  #giveUp(error: unknown): void {
    this.close()
    this.#listener.ended(error)
  }

  /** Finds out the UUID of a domain whose name virsh's line editor would change. virsh gets the name as an argument for that. */
  async #identify(name: string): Promise<void> {
    try {
      this.#domain = await domainUuid(name, this.#stop.signal, this.#uri)
      if (!this.#stop.signal.aborted && this.#queue.length > 0) this.#start()
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#giveUp(error)
    }
  }
}

/** JSON of printable ASCII without single quotes. Other characters occur only in its strings, where they are escaped. */
function asciiJson(value: unknown): string {
  const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(value).replace(/[^\x20-\x7e]|'/g, escaped)
}

function answerIn(text: string) {
  const line = text.split('\n').find((line) => line.startsWith('{'))
  const error = line === undefined ? virshError(text) : null
  if (error !== null) throw error
  const answer = parseMessage(line ?? text)
  if (answer.kind !== 'return' && answer.kind !== 'error') throw violation(`an ${answer.kind} as an answer`)
  return answer
}

function domainUuid(name: string, signal: AbortSignal, uri?: string): Promise<string> {
  const options = { env: environment(uri), signal, timeout: UUID_MS, killSignal: 'SIGKILL' } as const
  return new Promise((resolve, reject) => {
    if (name.includes('\0')) throw new VmapipeError('USAGE', 'no domain has a name with a NUL in it')
    const child = execFile('virsh', ['domuuid', `--domain=${name}`], options, (error, stdout, stderr) => {
      const uuid = stdout.trim()
      if (/^[0-9a-f-]{36}$/.test(uuid)) resolve(uuid)
      else if (error?.code === 'ENOENT') reject(notInstalled(error))
      else reject(virshError(stderr) ?? new VmapipeError('FAILED', 'virsh does not tell the UUID of the domain'))
    })
    child.stdin?.end()
  })
}

/** Whether this is libvirt's error for a guest that has ended. */
function isGone(error: unknown): boolean {
  return /domain is not running|failed to get domain/.test(String((error as Error).message))
}
