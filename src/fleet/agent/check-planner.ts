/** Sees whether an agent could join: the planner is reached, takes the token and speaks our protocol. */

import { join } from 'node:path'
import { jobFolders, stateFolder } from '../../jobs/state/folders.ts'
import { lockAgent } from './agent-lock.ts'
import { HostJobs } from './host-jobs.ts'
import { Link } from './link.ts'
import { type AgentOptions, TIMING } from './options.ts'
import { PlannerClient } from './planner-client.ts'
import { timerWarnings } from './timers.ts'

/** Lines for people. The hello is that of no agent that runs. Errors: USAGE, FAILED if the agent runs, ABORTED. */
export async function checkPlanner(options: AgentOptions, signal: AbortSignal): Promise<string[]> {
  const { version = '', labels = [], parallel = 1, allowPlaces = [], allowSockets = [] } = options
  const timing = { ...TIMING, ...options.timing }
  const state = options.state ?? stateFolder()
  const client = new PlannerClient({ ...options, answer: timing.answer })
  // A hello ends the works of the agent before.
  const lock = await lockAgent(state)
  try {
    const link = new Link({ client, version, labels, parallel, timing, log: () => {} })
    const { host, drained } = await link.hello(signal)
    const folders = options.jobFolders ?? jobFolders()
    const kept = join(state, 'fleet/jobs')
    const jobs = await HostJobs.open({ folders, kept, allowPlaces, allowSockets, warn: () => {} })
    const all = await jobs.all()
    return [
      `the planner takes the token: this host is '${host}'${drained ? ', and it is drained' : ''}`,
      all.length === 0 ? 'it has no jobs' : `its jobs: ${all.map(({ name }) => name).join(', ')}`,
      ...all.flatMap(({ name, problem }) => (problem === null ? [] : [`${name}: ${problem}`])),
      ...(await timerWarnings(all.map(({ name }) => name))),
    ]
  } finally {
    client.close()
    await lock.close()
  }
}
