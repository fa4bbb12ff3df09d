/**
 * A QMP client: commands with their answers, several at once, and events. Whatever goes wrong with the connection
 * ends it and fails every command with the one error that came first; only an error that QEMU reports for a command,
 * or its timeout, is that command's alone.
 */

import { randomInt } from 'node:crypto'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { type EventListener, Events } from './events.ts'
import { parseVersion, type QmpEvent, type QmpMessage, type QmpVersion, violation } from './message.ts'
import { QmpError } from './qmp-error.ts'
import { SocketTransport } from './socket-transport.ts'
import type { QmpTransport, TransportListener } from './transport.ts'
import { VirshTransport } from './virsh-transport.ts'

export type { QmpEvent, QmpVersion } from './message.ts'
export { QmpError, qmpErrorClass } from './qmp-error.ts'

export interface QmpOptions {
  /** Milliseconds until there must have been a greeting. */
  timeout?: number
  /** Ends the wait for a connection. One that is open stays open: cleaning up needs it. */
  signal?: AbortSignal
}

interface Pending {
  command: string
  resolve(value: any): void
  reject(error: Error): void
  /** Milliseconds from when it is sent. */
  timeout: number
  timer?: NodeJS.Timeout
}

const GREETING_MS = 5_000
const COMMAND_MS = 30_000

export class QmpClient {
  readonly closed: Promise<Error | null>
  readonly #transport: QmpTransport
  readonly #events = new Events()
  readonly #pending = new Map<number, Pending>()
  /** Commands whose answers nobody waits for any more. */
  readonly #abandoned = new Set<number>()
  readonly #greeting = Promise.withResolvers<QmpVersion>()
  #version: QmpVersion | null = null
  /**
   * QEMU gives a client the answer to what the one before it was asking when its connection was lost: it must not be taken for
   * one of ours. So ours begin at a number that is nobody else's; and what comes before our first one is not looked at.
   */
  #lastId = randomInt(2 ** 47)
  #isHeard = false
  #heard = performance.now()
  #end: VmapipeError | null = null
  #settleClosed: (error: Error | null) => void = () => {}

  private constructor(open: (listener: TransportListener) => QmpTransport) {
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve
    })
    this.#greeting.promise.catch(() => {})
    this.#transport = open({
      sent: (id) => this.#sent(id),
      message: (message) => this.#received(message),
      failed: (id, error) => this.#take(id)?.reject(this.#named(error)),
      ended: (error) => this.#fail(error),
    })
  }

  /** Waits for the greeting on the unix socket `path` and negotiates. */
  static async connect(path: string, { timeout = GREETING_MS, signal }: QmpOptions = {}): Promise<QmpClient> {
    const client = new QmpClient((listener) => new SocketTransport(path, listener))
    return client.#opened(signal, async () => {
      const timer = setTimeout(() => client.#fail(noGreeting(timeout)), timeout)
      client.#version = await client.#greeting.promise.finally(() => clearTimeout(timer))
      await client.execute('qmp_capabilities', undefined, { timeout })
    })
  }

  /** By way of virsh, to a guest whose monitor is libvirt's. `connect` is the URI of that libvirt; virsh's own choice by default. */
  static async libvirt(
    domain: string,
    { timeout = COMMAND_MS, signal, connect }: QmpOptions & { connect?: string } = {},
  ): Promise<QmpClient> {
    const client = new QmpClient((listener) => new VirshTransport(domain, listener, connect))
    return client.#opened(signal, async () => {
      client.#version = parseVersion(await client.execute('query-version', undefined, { timeout }))
    })
  }

  /** What error messages call the server. */
  get name(): string {
    return this.#transport.name
  }

  /** Whether QEMU's events come. By way of virsh they do not: a caller asks for the state again and again. */
  get hasEvents(): boolean {
    return this.#transport.hasEvents
  }

  get version(): QmpVersion {
    return this.#version!
  }

  /**
   * What the command returns. FAILED with a QmpError as its cause where QEMU refuses; FAILED if there is no answer `timeout` ms
   * after it was sent: then nobody knows whether it was, or will be, done.
   */
  execute<T = any>(command: string, args?: object, { timeout = COMMAND_MS } = {}): Promise<T> {
    if (this.#end) return Promise.reject(this.#end)
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject, timeout })
      this.#transport.send(id, { execute: command, ...(args !== undefined && { arguments: args }) })
    })
  }

  /** Calls `listener` for every event from now on; returns how to stop that. */
  on(listener: EventListener): () => void {
    return this.#events.on(listener)
  }

  /**
   * Resolves with the next event of this name whose data matches. To be called before the command that causes it, and awaited
   * after it; if that command fails, nobody needs to await this. FAILED after `timeout` ms, if the connection ends, or at once
   * if no events come this way.
   */
  waitFor(event: string, matches: (data: any) => boolean = () => true, timeout = COMMAND_MS): Promise<QmpEvent> {
    const error = this.#end ?? (this.hasEvents ? null : noEvents(this.name, event))
    if (error === null) return this.#events.wait(event, matches, timeout)
    const failed = Promise.reject(error)
    failed.catch(() => {})
    return failed
  }

  /** Lets go of the server; commands in flight fail. May be called more than once. */
  close(): void {
    this.#finish(new VmapipeError('FAILED', `${this.name}: the QMP connection was closed`), null)
  }

  async #opened(signal: AbortSignal | undefined, negotiate: () => Promise<void>): Promise<QmpClient> {
    const abort = () => this.#fail(asVmapipeError(signal!.reason))
    if (signal?.aborted) abort()
    signal?.addEventListener('abort', abort, { once: true })
    try {
      await negotiate()
      return this
    } catch (error) {
      this.#fail(error)
      throw this.#end
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  /** Milliseconds since QEMU said anything. */
  get silence(): number {
    return performance.now() - this.#heard
  }

  #sent(id: number): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    const { timeout } = pending
    pending.timer = setTimeout(() => this.#giveUp(id, timeout), timeout)
  }

  #received(message: QmpMessage): void {
    this.#heard = performance.now()
    // In the order in which they came: what follows from an answer before it is done first.
    if (message.kind === 'event') queueMicrotask(() => this.#events.emit(message.event))
    else if (message.kind === 'greeting') this.#greeting.resolve(message.version)
    else this.#answered(message)
  }

  #answered(answer: QmpMessage & { kind: 'return' | 'error' }): void {
    const id = answer.id as number
    if (this.#abandoned.delete(id)) return
    const pending = this.#take(id)
    if (pending === undefined && !this.#isHeard) return
    if (pending === undefined) {
      const what = answer.kind === 'error' ? `the error '${answer.desc}'` : 'an answer'
      throw violation(`${what} to a command that it was not given`)
    }
    this.#isHeard = true
    if (answer.kind === 'return') pending.resolve(answer.value)
    else pending.reject(refusal(pending.command, answer.class, answer.desc))
  }

  #giveUp(id: number, timeout: number): void {
    const { command, reject } = this.#take(id)!
    this.#abandoned.add(id)
    this.#transport.abandon?.(id)
    reject(new VmapipeError('FAILED', `${this.name}: no answer to ${command} within ${timeout / 1000} s`))
  }

  /** The command is in flight no longer. */
  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    clearTimeout(pending?.timer)
    return pending
  }

  #fail(cause: unknown): void {
    const error = this.#named(cause)
    this.#finish(error, error)
  }

  #named(cause: unknown): VmapipeError {
    const error = asVmapipeError(cause)
    const { code, message, hint } = error
    const named = message.startsWith(this.name) ? message : `${this.name}: ${message}`
    return new VmapipeError(code, named, { ...error.where, hint, cause: error.cause })
  }

  #finish(error: VmapipeError, told: Error | null): void {
    if (this.#end) return
    this.#end = error
    this.#transport.close()
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer)
      reject(error)
    }
    this.#pending.clear()
    this.#greeting.reject(error)
    this.#events.end(error)
    this.#settleClosed(told)
  }
}

function noGreeting(timeout: number): VmapipeError {
  return new VmapipeError('FAILED', `no QMP greeting within ${timeout / 1000} s`, {
    hint: 'a QMP socket takes one client at a time: somebody else is probably connected; give the guest a second -qmp socket',
  })
}

function noEvents(name: string, event: string): VmapipeError {
  return new VmapipeError('FAILED', `${name}: ${event} cannot be seen by way of libvirt`)
}

function refusal(command: string, kind: string, desc: string): VmapipeError {
  return new VmapipeError('FAILED', `QEMU refuses ${command}: ${desc}`, {
    cause: new QmpError(command, kind, desc),
  })
}
