/**
 * Has the agent of a guest freeze its filesystems for a short action. Whatever fails after the freeze was sent, a thaw is sent; and
 * sent again by a second connection if the first does not answer: an agent that was only slow, or stuck in the middle of a message,
 * finds it there. Everything has a time limit.
 */

import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { AgentChannel } from '../../../protocol/qmp/agent-channel.ts'
import { qmpErrorClass } from '../../../protocol/qmp/client.ts'

export interface AgentOptions {
  /** Milliseconds within which an agent answers, if there is one. */
  answer?: number
  /** Milliseconds for a freeze: the guest writes what it holds first. */
  freeze?: number
  /** Milliseconds that the filesystems may be frozen. */
  limit?: number
  signal?: AbortSignal
}

const DEFAULTS = { answer: 4_000, freeze: 20_000, limit: 10_000 }

/** The user must know this, whatever else has happened. */
export class StillFrozenError extends VmapipeError {
  constructor(message: string, cause: unknown, ...suppressed: unknown[]) {
    super('FAILED', message, { hint: 'send it guest-fsfreeze-thaw (virsh domfsthaw), or reset the guest', cause })
    this.suppressed.push(...suppressed)
  }
}

export class GuestAgent {
  readonly path: string
  readonly limit: number
  readonly #answer: number
  readonly #freeze: number
  #channel: AgentChannel

  private constructor(path: string, channel: AgentChannel, { answer, freeze, limit }: typeof DEFAULTS) {
    this.path = path
    this.limit = limit
    this.#channel = channel
    this.#answer = answer
    this.#freeze = freeze
  }

  /** On the agent's socket, QEMU's end of `org.qemu.guest_agent.0`. FAILED if no agent answers. */
  static async connect(path: string, { signal, ...times }: AgentOptions = {}): Promise<GuestAgent> {
    signal?.throwIfAborted()
    const whole = { ...DEFAULTS, ...times }
    const channel = new AgentChannel(path)
    const abort = () => channel.close(signal!.reason)
    signal?.addEventListener('abort', abort, { once: true })
    try {
      await channel.sync(whole.answer)
    } finally {
      signal?.removeEventListener('abort', abort)
    }
    return new GuestAgent(path, channel, whole)
  }

  async isFrozen(): Promise<boolean> {
    return (await this.#channel.execute('guest-fsfreeze-status', this.#answer)) === 'frozen'
  }

  /** Returns how many filesystems are frozen now. If it fails, they may be frozen, or may become so: thaw them. */
  async freeze(): Promise<number> {
    const frozen = await this.#channel.execute('guest-fsfreeze-freeze', this.#freeze)
    if (Number.isInteger(frozen)) return frozen as number
    throw new VmapipeError('FAILED', `guest agent ${this.path}: no number of frozen filesystems`)
  }

  /**
   * Returns null when they are thawed, or what the agent reports: that they did not stay frozen. FAILED if they may still be
   * frozen.
   */
  async thaw(): Promise<VmapipeError | null> {
    try {
      return await this.#tryThaw()
    } catch (first) {
      this.#channel.close()
      this.#channel = new AgentChannel(this.path)
      // The thaw goes out with it at once: it must not depend on an answer.
      this.#channel.sync(this.#answer).catch(() => {})
      try {
        return await this.#tryThaw()
      } catch (second) {
        const message = "the guest's filesystems may still be frozen: its agent answers no thaw"
        throw new StillFrozenError(message, first, second)
      }
    }
  }

  close(): void {
    this.#channel.close()
  }

  async #tryThaw(): Promise<VmapipeError | null> {
    try {
      await this.#channel.execute('guest-fsfreeze-thaw', this.#answer)
      return null
    } catch (error) {
      if (qmpErrorClass(error) === undefined || (await this.isFrozen())) throw error
      return asVmapipeError(error)
    }
  }
}

/**
 * Runs `action` while the guest's filesystems are frozen, and returns its value. FAILED if they could not be
 * frozen (then the action has not run), did not stay frozen until its end, or may still be frozen.
 */
export async function withFrozen<T>(agent: GuestAgent, action: () => Promise<T>): Promise<T> {
  await freeze(agent)
  const { value, doubt } = await whileFrozen(agent, action)
  if (doubt !== null) throw doubt
  return value
}

/** FAILED with everything thawed again, unless the error says otherwise. */
export async function freeze(agent: GuestAgent): Promise<number> {
  if (await agent.isFrozen()) {
    throw new VmapipeError('FAILED', "the guest's filesystems are frozen already, by somebody else", {
      hint: 'is another backup of this guest running?',
    })
  }
  try {
    return await agent.freeze()
  } catch (error) {
    await thawAfter(error, agent.thaw())
    throw error
  }
}

/** To be called after a freeze. `doubt`: why the guest may not have been frozen all the time. The filesystems are thawed in any case. */
export async function whileFrozen<T>(
  agent: GuestAgent,
  action: () => Promise<T>,
): Promise<{ value: T; doubt: VmapipeError | null }> {
  const late: { thaw?: Promise<unknown> } = {}
  const timer = setTimeout(() => {
    late.thaw = agent.thaw()
    late.thaw.catch(() => {})
  }, agent.limit)
  let value: T
  try {
    value = await action()
  } catch (error) {
    clearTimeout(timer)
    await thawAfter(error, late.thaw ?? agent.thaw())
    throw error
  }
  clearTimeout(timer)
  if (late.thaw === undefined) return { value, doubt: await agent.thaw() }
  await late.thaw
  return { value, doubt: tooLong(agent.limit) }
}

/** Adds the error of a thaw that failed too to the first error. */
async function thawAfter(first: unknown, thaw: Promise<unknown>): Promise<void> {
  try {
    await thaw
  } catch (error) {
    throw new StillFrozenError(`${asVmapipeError(first).message}; ${asVmapipeError(error).message}`, first, error)
  }
}

function tooLong(limit: number): VmapipeError {
  return new VmapipeError(
    'FAILED',
    `the guest's filesystems were thawed after ${limit / 1000} s, before the point in time was reached`,
  )
}
