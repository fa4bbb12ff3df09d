/** A planner in a process of its own, that is killed: it makes a token and gives out a work, and says so. */

import { openFleet } from '../../../src/fleet/service/open.ts'
import { AgentOfTest } from './agent-of-test.ts'

const fleet = await openFleet({ folder: process.argv[2] })
const { text } = await fleet.tokens.make({ name: 'a1', kind: 'agent' })
const agent = new AgentOfTest(fleet, 'a1', { guests: ['a'] })
await agent.begin()
await fleet.people.start({ job: 'nightly' })
const [work] = await agent.work()
process.stdout.write(`${JSON.stringify({ token: text, id: work.id })}\n`)
