import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { identitiesOf } from '../../../src/fleet/agent/identities.ts'
import { agentEvent } from '../../../src/fleet/messages/events.ts'
import { inventory } from '../../../src/fleet/messages/inventory.ts'
import type { Guest } from '../../../src/jobs/guests/guest.ts'
import { backup } from '../../../src/operations/backup.ts'
import { tmpDir } from '../../support/tmp.ts'
import { fleetHost, run } from './host.ts'
import { until } from './made-planner.ts'

const LONG = 'x'.repeat(300)
const limit = { timeout: 120_000 }

test('guests and archives with names that no planner takes keep no others from it', limit, async (t) => {
  const host = await fleetHost(t)
  const { planner } = host
  const file = host.jobFile('nightly')
  const drives = `{ drive-scsi0: ${host.disk('web')} }`
  writeFileSync(
    file,
    `guests:\n  - { name: web, drives: ${drives} }\n  - { name: ${LONG}, drives: ${drives} }\nto: ${host.dir}/place\n`,
  )
  // Somebody has put an archive among those of the guest which says that it is of another one.
  mkdirSync(join(host.dir, 'place/web'), { recursive: true })
  const strange = join(host.dir, 'place/web/web-2020-01-01T000000Z.vma.zst')
  await backup({ drives: { 'drive-scsi0': host.disk('web') }, to: strange, guest: LONG })
  await host.start()
  const told = await until(() => planner.inventories.at(-1))
  assert.deepEqual(inventory.safeParse(told).error, undefined)
  assert.deepEqual(told.jobs[0].guests, ['web'])
  assert.ok(
    told.warnings.some((line) => /xxx.*cannot be used/.test(line)),
    told.warnings.join(),
  )

  planner.give(run('w1', Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000))
  const list = await until(() => planner.events.find(({ event }) => event === 'archives'))
  assert.deepEqual(agentEvent.safeParse(list).error, undefined)
  assert.equal(list.event === 'archives' && list.archives.length, 1)
  assert.ok(
    host.lines.some((line) => /web-2020.*is not told to the planner.*its guest/.test(line)),
    host.lines.join(),
  )
})

test('what a process says of its uuid is an identity only if it is a uuid', limit, async (t) => {
  const dir = tmpDir(t)
  // Anybody of a host can start a process of this name.
  const start = async (name: string, uuid: string) => {
    const socket = join(dir, name)
    const words = ['-e', 'console.log(1); setInterval(() => {}, 1000)', '--', '-qmp', `unix:${socket}`, '-uuid', uuid]
    const child = spawn(process.execPath, words, { argv0: 'qemu-system-x86_64', stdio: ['ignore', 'pipe', 'ignore'] })
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    return { name, source: { kind: 'qmp', socket }, entry: {} } as unknown as Guest
  }
  const uuid = 'A6C2F6D0-1111-4222-8333-444444444444'
  const guests = [await start('good', uuid), await start('strange', 'y'.repeat(300))]
  const found = await identitiesOf(guests, new AbortController().signal)
  assert.deepEqual(
    guests.map((guest) => found.get(guest)),
    [
      { identity: uuid.toLowerCase(), running: true },
      { identity: null, running: true },
    ],
  )
})
