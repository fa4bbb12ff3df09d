import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { GuestAgent, withFrozen } from '../../../src/live/qemu/agent.ts'
import { needsAgentGuest, startAgentGuest } from './agent-guest.ts'

test("a real guest's writes stop while it is frozen, and go on", {
  timeout: 90_000,
  ...needsAgentGuest(),
}, async (t) => {
  const guest = await startAgentGuest(t)
  const agent = await GuestAgent.connect(guest.agent)
  t.after(() => agent.close())
  const written = await withFrozen(agent, async () => {
    // The last write that came through may be reported a little later.
    await sleep(200)
    const before = guest.writes
    await sleep(400)
    assert.equal(guest.writes, before, 'nothing is written')
    assert.equal(await agent.isFrozen(), true)
    return before
  })
  await sleep(400)
  assert.ok(guest.writes > written, 'it writes again')

  // The socket takes one client; ours is still there.
  const hasty = await GuestAgent.connect(guest.agent, { answer: 300 }).catch((error) => error)
  assert.match(hasty.message, /no answer/)
  agent.close()

  // A machine that hangs just when its guest should thaw: it is told by another connection, and thaws as soon as it can.
  const other = await GuestAgent.connect(guest.agent, { answer: 1000 })
  t.after(() => other.close())
  await withFrozen(other, async () => {
    guest.pause()
    setTimeout(() => guest.resume(), 1500)
  })
  assert.equal(await other.isFrozen(), false)
})
