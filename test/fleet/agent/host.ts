/** A host of the test's own: job files with small guests at rest, folders for state and locks, and an agent. */

import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Agent, startAgent } from '../../../src/fleet/agent/agent.ts'
import type { AgentOptions } from '../../../src/fleet/agent/options.ts'
import { entries, nightly } from '../../jobs/run/nightly.ts'
import { startTestWorker } from '../../support/workers.ts'
import { MadePlanner, TOKEN } from './made-planner.ts'

type Hooks = { after(hook: () => void | Promise<void>): void }

export async function fleetHost(t: Hooks, guests: readonly string[] = ['web']) {
  const night = nightly(t, guests)
  const planner = new MadePlanner()
  await planner.listen()
  const folder = join(night.dir, 'jobs')
  mkdirSync(folder)
  const state = join(night.dir, 'state')
  const runtime = join(night.dir, 'locks')
  const lines: string[] = []
  const agents = new Set<Agent>()
  t.after(async () => {
    await Promise.all([...agents].map((agent) => agent.stop().catch(() => {})))
    planner.close()
  })
  return {
    ...night,
    planner,
    state,
    runtime,
    lines,
    folder,
    /** Writes a job file with these guests. */
    jobFile(name: string, more = '', to = `${night.dir}/place`): string {
      const file = join(folder, `${name}.yaml`)
      writeFileSync(file, `guests:\n${entries(night, guests)}to: ${to}\n${more}`)
      return file
    },
    async start(options: Partial<AgentOptions> = {}): Promise<Agent> {
      const agent = await startAgent({
        ...{ url: planner.url, token: TOKEN, state, runtime, jobFolders: [folder], start: startTestWorker },
        log: (level, text) => void lines.push(`${level}: ${text}`),
        ...options,
        timing: { grace: 300, look: 500, poll: 2000, answer: 5000, retry: 50, longestRetry: 200, ...options.timing },
      })
      agents.add(agent)
      return agent
    },
    /** Names of the archives of a guest. */
    archives(guest = 'web', place = 'place'): string[] {
      try {
        return readdirSync(join(night.dir, place, guest))
          .filter((name) => /\.vm[ai](\.zst)?$/.test(name))
          .sort()
      } catch {
        return []
      }
    },
  }
}

export const run = (id: string, due: number, more: object = {}) => ({
  ...{ id, attempt: 1, kind: 'run', job: 'nightly', guest: 'web', due: new Date(due).toISOString() },
  ...more,
})
