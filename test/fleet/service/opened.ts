/** A planner with hosts that beat by themselves, until the test stops one. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Fleet } from '../../../src/fleet/fleet.ts'
import { openFleet } from '../../../src/fleet/service/open.ts'
import type { FleetOptions } from '../../../src/fleet/service/options.ts'
import { AgentOfTest, type HostOfTest } from './agent-of-test.ts'

export const HEARTBEAT = 500

export interface Opened extends Fleet, AsyncDisposable {
  beating: AgentOfTest[]
  host(name: string, parts: HostOfTest): Promise<AgentOfTest>
}

export async function open(options: FleetOptions): Promise<Opened> {
  const fleet = await openFleet(options)
  const beating: AgentOfTest[] = []
  const timer = setInterval(() => {
    for (const agent of beating) agent.beat().catch(() => {})
  }, HEARTBEAT / 3)
  let isClosed = false
  const close = async () => {
    clearInterval(timer)
    if (isClosed) return
    isClosed = true
    await fleet.close()
  }
  return {
    ...fleet,
    beating,
    async host(name, parts) {
      const agent = new AgentOfTest(fleet, name, parts)
      await agent.begin()
      beating.push(agent)
      return agent
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

export async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 6000; attempt++) {
    if (await isSo()) return
    await sleep(50)
  }
  throw new Error('it did not come to be')
}
