/**
 * The agent of a host: it tells the planner what the host has, does what the planner asks for, and goes on by the host's own schedule while the
 * planner is away. It only connects outwards.
 */

import { join } from 'node:path'
import { ownFolder, runtimeFolder, stateFolder } from '../../jobs/state/folders.ts'
import { lockAgent } from './agent-lock.ts'
import { type AgentOptions, TIMING, type Timing } from './options.ts'
import { PlannerClient } from './planner-client.ts'
import { RunningAgent } from './running-agent.ts'

export interface Agent {
  /** What the planner calls the host; null before its first answer. */
  readonly host: string | null
  /** Resolves when the agent has ended. */
  readonly ended: Promise<void>
  /** Ends it: backups that run end, and their guests are free within two seconds. */
  stop(): Promise<void>
}

/**
 * Starts the agent of this host. Errors: USAGE for a URL or a token that cannot be used, FAILED if another agent uses the folder of the
 * state.
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { state = stateFolder(), runtime = runtimeFolder() } = options
  const timing: Timing = { ...TIMING, ...options.timing }
  const client = new PlannerClient({ ...options, answer: timing.answer, keyFiles: () => running.keyFiles })
  const lock = await lockAgent(state)
  await ownFolder(runtime)
  const running = new RunningAgent(options, { state, runtime, folder: join(state, 'fleet'), timing, client })
  const ended = running.run().finally(async () => {
    client.close()
    await lock.close()
  })
  // Those who do not wait for it must not end by its error.
  ended.catch(() => {})
  return {
    get host() {
      return running.host
    },
    ended,
    async stop() {
      running.stop()
      await ended
    },
  }
}
