/** `--fsfreeze auto|on|off`: freezes the guest's filesystems around an action that must happen at one instant. */

import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { type AgentOptions, freeze, GuestAgent, StillFrozenError, whileFrozen } from './agent.ts'

const FSFREEZE_MODES = ['auto', 'on', 'off'] as const
export type FsfreezeMode = (typeof FSFREEZE_MODES)[number]

interface FsfreezeOptions extends AgentOptions {
  /** `auto` freezes if an agent answers, and warns if that fails; `on` fails then. */
  mode?: FsfreezeMode
  /** The agent's socket. */
  agent?: string
  warn?: (message: string) => void
  /** Is told when the filesystems are frozen, and when they are thawed. */
  inform?: (message: string) => void
}

/** The action's value. In no case does it leave filesystems frozen without saying so in a FAILED error. */
export async function fsfreeze<T>(options: FsfreezeOptions, action: () => Promise<T>): Promise<T> {
  const { mode = 'auto', agent: path, warn = () => {}, inform = () => {}, ...times } = options
  if (mode === 'on' && path === undefined) {
    throw new VmapipeError('USAGE', '--fsfreeze on needs the guest agent', { hint: 'give its socket, --agent SOCKET' })
  }
  if (mode === 'off' || path === undefined) return action()
  const agent = await frozenAgent(path, times).catch((error: unknown) => {
    if (mode === 'on' || mustBeKnown(error)) throw error
    warn(`the guest's filesystems are not frozen: ${asVmapipeError(error).line}`)
    return null
  })
  if (agent === null) return action()
  const frozen = performance.now()
  inform("the guest's filesystems are frozen")
  try {
    const { value, doubt } = await whileFrozen(agent, action)
    if (doubt === null) inform(`the guest's filesystems go on after ${Math.round(performance.now() - frozen)} ms`)
    if (doubt !== null && mode === 'on') throw doubt
    if (doubt !== null) warn(doubt.line)
    return value
  } finally {
    agent.close()
  }
}

function mustBeKnown(error: unknown): boolean {
  return error instanceof StillFrozenError || asVmapipeError(error).code === 'ABORTED'
}

async function frozenAgent(path: string, options: AgentOptions): Promise<GuestAgent> {
  const agent = await GuestAgent.connect(path, options)
  try {
    await freeze(agent)
    return agent
  } catch (error) {
    agent.close()
    throw error
  }
}
