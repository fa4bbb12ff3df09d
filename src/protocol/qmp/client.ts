/**
 * A QMP client: commands with their answers, several at once, and events. An error of the connection ends it and fails every
 * command with the same error, the first one. An error that QEMU reports for a command, or its timeout, fails that command alone.
 */

import { randomInt } from 'node:crypto'
import type { Socket } from 'node:net'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { Json } from '../json.ts'
import { type EventListener, Events } from './events.ts'
import { parseVersion, type QmpEvent, type QmpMessage, type QmpVersion, violation } from './message.ts'
import { refused } from './qmp-error.ts'
import { SharedTransport } from './shared-transport.ts'
import { SocketTransport } from './socket-transport.ts'
import type { QmpTransport, TransportListener, Watching } from './transport.ts'
import { VirshTransport } from './virsh-transport.ts'

export type { QmpEvent, QmpVersion } from './message.ts'
export { QmpError, qmpErrorClass } from './qmp-error.ts'

interface QmpOptions {
  /** Milliseconds to wait for the greeting. */
  timeout?: number
  /** Ends the wait for a connection. One that is open stays open: cleaning up needs it. */
  signal?: AbortSignal
}

/** A command that was sent, or waits for the transport, and has no answer. */
interface OpenCommand {
  command: string
  resolve(value: unknown): void
  reject(error: Error): void
  /** Milliseconds to wait for the answer, from when the command is sent. */
  timeout: number
  timer?: NodeJS.Timeout
}

const GREETING_MS = 5_000
const COMMAND_MS = 30_000
/** How long other clients of a shared monitor may have it. */
const SHARED_MS = 60_000

export class QmpClient {
  readonly closed: Promise<Error | null>
  readonly #transport: QmpTransport
  readonly #events = new Events()
  readonly #open = new Map<number, OpenCommand>()
  /** Commands whose answers nobody waits for any more. */
  readonly #abandoned = new Set<number>()
  readonly #greeting = Promise.withResolvers<QmpVersion>()
  #version: QmpVersion | null = null
  /**
   * Our numbers begin at a random one, and answers before our first one are ignored. For QEMU gives a client the answer to a command
   * of the client before it, if that lost its connection meanwhile.
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

  /** Waits for the greeting on a unix socket, by its path or connected already, and negotiates. */
  static async connect(to: string | Socket, { timeout = GREETING_MS, signal }: QmpOptions = {}): Promise<QmpClient> {
    const client = new QmpClient((listener) => new SocketTransport(to, listener))
    return client.#opened(signal, async () => {
      const timer = setTimeout(() => client.#fail(noGreeting(timeout)), timeout)
      client.#version = await client.#greeting.promise.finally(() => clearTimeout(timer))
      await client.execute('qmp_capabilities', undefined, { timeout })
    })
  }

  /**
   * Uses the monitor at `path` as one of several clients: connects for each few commands and leaves it again. `timeout`: milliseconds to
   * wait for the others.
   */
  static async shared(path: string, { timeout = SHARED_MS, signal }: QmpOptions = {}): Promise<QmpClient> {
    const client = new QmpClient((listener) => new SharedTransport(path, listener, { patience: timeout }))
    return client.#opened(signal, async () => {
      client.#version = parseVersion(await client.execute('query-version'))
    })
  }

  /** Connects by way of virsh to a guest whose monitor is libvirt's. `connect`: the URI of that libvirt; virsh chooses by default. */
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

  /** Whether QEMU's events come, or a caller asks for the state again and again. */
  get watching(): Watching {
    return this.#transport.watching
  }

  /** Runs `work` without letting other clients of a shared monitor in between its commands. */
  async together<T>(work: () => Promise<T>): Promise<T> {
    const release = this.#transport.keep?.()
    try {
      return await work()
    } finally {
      release?.()
    }
  }

  get version(): QmpVersion {
    return this.#version!
  }

  /**
   * Resolves with what the command returns, unchecked. FAILED with a QmpError as its cause if QEMU refuses. FAILED if there is no
   * answer `timeout` ms after it was sent: then nobody knows whether the command was, or will be, carried out.
   */
  execute<T = unknown>(command: string, args?: object, { timeout = COMMAND_MS } = {}): Promise<T> {
    if (this.#end) return Promise.reject(this.#end)
    if (this.#open.size === 0) this.#heard = performance.now()
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#open.set(id, { command, resolve: resolve as (value: unknown) => void, reject, timeout })
      this.#transport.send(id, { execute: command, ...(args !== undefined && { arguments: args }) })
    })
  }

  /** Calls `listener` for every event from now on. Returns a function that stops it. */
  on(listener: EventListener): () => void {
    return this.#events.on(listener)
  }

  /**
   * Resolves with the next event of this name whose data matches. To be called before the command that causes it, and awaited
   * after it; if that command fails, nobody needs to await this. FAILED after `timeout` ms, if the connection ends, or at once
   * if no events come this way.
   */
  waitFor(event: string, matches: (data: Json) => boolean = () => true, timeout = COMMAND_MS): Promise<QmpEvent> {
    const error = this.#end ?? (this.watching === 'events' ? null : noEvents(this.name, event))
    if (error === null) return this.#events.wait(event, matches, timeout)
    const failed = Promise.reject(error)
    failed.catch(() => {})
    return failed
  }

  /** Ends the connection. Commands in flight fail. May be called more than once. */
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

  /** Milliseconds for which QEMU has not answered; 0 if nothing was asked. */
  get silence(): number {
    return this.#open.size === 0 ? 0 : performance.now() - this.#heard
  }

  #sent(id: number): void {
    const waiting = this.#open.get(id)
    if (waiting === undefined) return
    const { timeout } = waiting
    waiting.timer = setTimeout(() => this.#giveUp(id, timeout), timeout)
  }

  #received(message: QmpMessage): void {
    this.#heard = performance.now()
    // Later in this turn, so that what follows from the answer before the event is done first.
    if (message.kind === 'event') queueMicrotask(() => this.#events.emit(message.event))
    else if (message.kind === 'greeting') this.#greeting.resolve(message.version)
    else this.#answered(message)
  }

  #answered(answer: QmpMessage & { kind: 'return' | 'error' }): void {
    const id = answer.id as number
    if (this.#abandoned.delete(id)) return
    const waiting = this.#take(id)
    if (waiting === undefined && !this.#isHeard) return
    if (waiting === undefined) {
      const what = answer.kind === 'error' ? `the error '${answer.desc}'` : 'an answer'
      throw violation(`${what} to a command that it was not given`)
    }
    this.#isHeard = true
    if (answer.kind === 'return') waiting.resolve(answer.value)
    else waiting.reject(refused('QEMU', waiting.command, answer.class, answer.desc))
  }

  #giveUp(id: number, timeout: number): void {
    const { command, reject } = this.#take(id)!
    this.#abandoned.add(id)
    this.#transport.abandon?.(id)
    reject(new VmapipeError('FAILED', `${this.name}: no answer to ${command} within ${timeout / 1000} s`))
  }

  /** Takes the command out of those without an answer. */
  #take(id: number): OpenCommand | undefined {
    const waiting = this.#open.get(id)
    this.#open.delete(id)
    clearTimeout(waiting?.timer)
    return waiting
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
    for (const { reject, timer } of this.#open.values()) {
      clearTimeout(timer)
      reject(error)
    }
    this.#open.clear()
    this.#greeting.reject(error)
    this.#events.end(error)
    this.#settleClosed(told)
  }
}

function noGreeting(timeout: number): VmapipeError {
  return new VmapipeError('FAILED', `no QMP greeting within ${timeout / 1000} s`, {
    hint: 'a QMP socket takes one client at a time, and another program is probably connected; give the guest a second -qmp socket',
  })
}

function noEvents(name: string, event: string): VmapipeError {
  return new VmapipeError('FAILED', `${name}: ${event} cannot be seen this way`)
}
