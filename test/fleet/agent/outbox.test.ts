import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { VmapipeError } from '../../../src/core/errors.ts'
import { fitting } from '../../../src/fleet/agent/archives.ts'
import { Outbox } from '../../../src/fleet/agent/outbox.ts'
import type { AgentArchive, AgentEvent } from '../../../src/fleet/messages/events.ts'
import type { StartTask } from '../../../src/jobs/run/worker.ts'
import { tmpDir } from '../../support/tmp.ts'
import { startTestWorker } from '../../support/workers.ts'
import { fleetHost, run } from './host.ts'
import { until } from './made-planner.ts'

const at = '2026-11-29T01:30:00.000Z'
const finished = (id: string): AgentEvent => ({ id, at, event: 'finished', work: id, outcome: 'done', text: '' })
const archives = (id: string): AgentEvent => ({
  id,
  at,
  event: 'archives',
  job: 'j',
  place: '/p',
  guest: 'g',
  archives: [],
})
const ids = (outbox: Outbox) => outbox.first(99).map(({ id }) => id)

test('an outbox keeps events in their order until they are taken, over a restart', async (t) => {
  const folder = join(tmpDir(t), 'outbox')
  const outbox = await Outbox.open(folder, { warn: assert.fail })
  for (const id of ['a', 'b', 'c']) await outbox.add(finished(id))
  await outbox.add(finished('b'))
  assert.deepEqual(ids(outbox), ['a', 'b', 'c'])
  await outbox.answered(outbox.first(2), ['a', 'b', 'strange'])
  writeFileSync(join(folder, '0-damaged.json'), '{"id":')
  const again = await Outbox.open(folder, { warn: assert.fail })
  assert.deepEqual(ids(again), ['c'])
  assert.equal(readdirSync(folder).length, 1)
})

test('a full outbox drops the oldest lists of archives first, and tells it', async (t) => {
  const warnings: string[] = []
  const folder = join(tmpDir(t), 'outbox')
  const outbox = await Outbox.open(folder, { most: 3, warn: (text) => void warnings.push(text) })
  for (const event of [finished('a'), archives('x'), finished('b'), archives('y')]) await outbox.add(event)
  assert.deepEqual(ids(outbox), ['a', 'b', 'y'])
  for (const event of [finished('c'), finished('d')]) await outbox.add(event)
  assert.deepEqual(ids(outbox), ['b', 'c', 'd'])
  assert.deepEqual([outbox.dropped, warnings.length], [3, 1])
  assert.equal(readdirSync(folder).length, 3)
})

test('long lists of archives are sent in messages that a planner takes, and fill no memory', async (t) => {
  const warnings: string[] = []
  const folder = join(tmpDir(t), 'outbox')
  const outbox = await Outbox.open(folder, { mostBytes: 40_000, warn: (text) => void warnings.push(text) })
  const long = (id: string): AgentEvent => ({ ...finished(id), text: 'x'.repeat(3900) }) as AgentEvent
  for (let count = 0; count < 9; count++) await outbox.add(long(`${count}`))
  assert.deepEqual(
    outbox.first(99, 10_000).map(({ id }) => id),
    ['0', '1'],
  )
  assert.equal(outbox.first(99, 1).length, 1)
  // One that is told anew is not counted twice.
  for (let count = 0; count < 20; count++) await outbox.add(long('8'))
  assert.deepEqual([outbox.size, warnings.length], [9, 0])
  for (let count = 9; count < 30; count++) await outbox.add(long(`${count}`))
  assert.deepEqual([outbox.size, outbox.first(1)[0].id, warnings.length], [9, '21', 1])
  assert.equal((await Outbox.open(folder, { mostBytes: 20_000, warn: () => {} })).size, 4)
  const archive = (number: number) => ({ name: `${number}`, notes: 'n'.repeat(5000) }) as AgentArchive
  const all = Array.from({ length: 1000 }, (_, number) => archive(number))
  assert.deepEqual(fitting(all), all)
  const cut = fitting(all, 1_000_000)
  assert.deepEqual([cut.length, cut[0].notes!.length], [1000, 200])
  const few = fitting(all, 50_000)
  assert.ok(few.length > 50 && few.length < 300 && few.at(-1)!.name === '999', `${few.length}`)
})

test('an event that the planner never takes holds up no other, and is given up in the end', async (t) => {
  const warnings: string[] = []
  const outbox = await Outbox.open(join(tmpDir(t), 'outbox'), { warn: (text) => void warnings.push(text) })
  await outbox.add(finished('bad'))
  await outbox.add(finished('good'))
  await outbox.answered(outbox.first(1), [])
  assert.deepEqual(ids(outbox), ['good', 'bad'])
  for (let count = 0; count < 19; count++) await outbox.answered(outbox.first(2), [])
  assert.deepEqual([ids(outbox), warnings.length], [['good'], 1])
})

test('events that were not taken are sent again, also by the next start of the agent, with the same id', {
  timeout: 120_000,
}, async (t) => {
  const host = await fleetHost(t)
  host.jobFile('nightly')
  host.planner.takes = false
  const agent = await host.start()
  host.planner.give(run('w1', Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000))
  const id = await until(
    () => [...host.planner.times].find(([one, times]) => one.startsWith('ended-w1') && times > 1)?.[0],
  )
  await agent.stop()
  host.planner.takes = true
  await host.start()
  await until(() => host.planner.ended().some((event) => event.id === id))
  await until(() => readdirSync(join(host.state, 'fleet/outbox')).length === 0)
})

test('a verify or prune whose end is still in the outbox is not done again, also by the next start of the agent', {
  timeout: 120_000,
}, async (t) => {
  const host = await fleetHost(t)
  const { planner } = host
  host.jobFile('nightly', '', `{ place: ${host.dir}/place, keep: { last: 1 } }`)
  const agent = await host.start()
  const due = Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000
  planner.give(run('w1', due))
  await until(() => planner.ended().length === 1)
  const archive = join(host.dir, 'place/web', host.archives()[0])
  const works = (attempt: number) => [
    { id: 'v1', attempt, kind: 'verify', job: 'nightly', archive },
    { id: 'p1', attempt, kind: 'prune', job: 'nightly' },
  ]
  const verified = () => JSON.parse(readFileSync(`${archive}.checks`, 'utf8')).checks[0].at
  // It does not answer: an event that is refused so often is given up.
  const unanswered: ServerResponse[] = []
  const sent = new Set<string>()
  planner.answers.set('events', ({ events }, response) => {
    unanswered.push(response)
    for (const { id } of events as { id: string }[]) sent.add(id)
    // The next ones come only when this is over.
    if (!sent.has('finished-v1#1') || !sent.has('finished-p1#1')) response.destroy()
  })
  planner.give(...works(1))
  await until(() => sent.has('finished-v1#1') && sent.has('finished-p1#1'))
  const before = verified()
  planner.give(...works(2))
  const hasLooked = (times: number) => () =>
    host.lines.filter((line) => / has ended, which the planner does not know/.test(line)).length === times ||
    host.lines.filter((line) => /the planner asks for (verify|prune)/.test(line)).length > 2
  await until(hasLooked(2))
  await agent.stop()
  await host.start()
  planner.give(...works(3))
  await until(hasLooked(4))
  planner.answers.clear()
  for (const response of unanswered) response.destroy()
  await until(() => planner.finished('v1') && planner.finished('p1'))
  assert.deepEqual(planner.events.flatMap(({ id }) => (/^finished-[vp]/.test(id) ? [id] : [])).sort(), [
    'finished-p1#1',
    'finished-v1#1',
  ])
  assert.equal(verified(), before)
  // What the planner knows to have ended may be asked for anew.
  await until(() => readdirSync(join(host.state, 'fleet/outbox')).length === 0)
  planner.give({ id: 'v2', attempt: 1, kind: 'verify', job: 'nightly', archive })
  await until(() => planner.finished('v2'))
  assert.notEqual(verified(), before)
})

test('a verify whose agent was killed before it kept the end is not done again', { timeout: 120_000 }, async (t) => {
  const host = await fleetHost(t)
  const { planner } = host
  host.jobFile('nightly')
  let hasRecorded = false
  // The process of the verify ends, and the agent does not get to know it.
  const deaf: StartTask = (task, hear) => {
    const running = startTestWorker(task, hear)
    if (task.kind !== 'verify') return running
    const { promise, reject } = Promise.withResolvers<never>()
    void running.ended.then(() => {
      hasRecorded = true
    })
    return { ...running, ended: promise, cancel: (reason) => reject(new VmapipeError('ABORTED', reason)) }
  }
  const agent = await host.start({ start: deaf })
  planner.give(run('w1', Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000))
  await until(() => planner.ended().length === 1)
  const archive = join(host.dir, 'place/web', host.archives()[0])
  planner.give({ id: 'v1', attempt: 1, kind: 'verify', job: 'nightly', archive })
  await until(() => hasRecorded)
  await agent.stop()
  assert.equal(planner.finished('v1'), undefined)

  const begun: string[] = []
  const counted: StartTask = (task, hear) => {
    begun.push(task.kind)
    return startTestWorker(task, hear)
  }
  await host.start({ start: counted })
  planner.give({ id: 'v1', attempt: 2, kind: 'verify', job: 'nightly', archive })
  const { outcome, text } = await until(() => planner.finished('v1'))
  assert.deepEqual([outcome, begun], ['done', []])
  assert.match(text, /clusters of 1 drive were checked/)
  // Another work is done, although a check is there.
  planner.give({ id: 'v2', attempt: 1, kind: 'verify', job: 'nightly', archive })
  await until(() => planner.finished('v2'))
  assert.deepEqual(begun, ['verify'])
})

test('a prune whose agent was killed before it kept the end tells what it has removed all the same', {
  timeout: 120_000,
}, async (t) => {
  const host = await fleetHost(t)
  const { planner } = host
  const keeping = `{ place: ${host.dir}/place, keep: { last: 1 } }`
  host.jobFile('nightly')
  const agent = await host.start()
  const due = Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000
  for (const number of [1, 2, 3]) planner.give(run(`w${number}`, due + number * 60_000))
  await until(() => planner.ended().length === 3)
  host.jobFile('nightly', '', keeping)
  planner.takes = false
  const prune = (attempt: number) => ({ id: 'p1', attempt, kind: 'prune', job: 'nightly', guest: 'web' })
  planner.give(prune(1))
  await until(() => planner.times.has('finished-p1#1'))
  await agent.stop()
  assert.equal(host.archives().length, 1)
  // As if the end had never been on disk.
  rmSync(join(host.state, 'fleet/outbox'), { recursive: true })
  planner.takes = true
  await host.start()
  planner.give(prune(2))
  const { text, outcome } = await until(() => planner.finished('p1'))
  assert.deepEqual([outcome, /^2 archives were removed, \d+/.test(text)], ['done', true], text)
  // Another prune has removed nothing.
  planner.give({ ...prune(1), id: 'p2' })
  assert.match((await until(() => planner.finished('p2'))).text, /^0 archives were removed/)
})

test('a backup whose guest the planner does not know yet is kept as long as it takes to look at the host', {
  timeout: 120_000,
}, async (t) => {
  const host = await fleetHost(t)
  const { planner } = host
  host.jobFile('nightly')
  // The host takes long: its inventory does not arrive, and before it the planner takes no end.
  const waiting: ServerResponse[] = []
  planner.answers.set('inventory', (_, response) => void waiting.push(response))
  planner.takes = false
  await host.start()
  planner.give(run('w1', Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000))
  await until(() => [...planner.times].some(([id, times]) => id.startsWith('ended-w1') && times > 30))
  planner.answers.clear()
  planner.takes = true
  await until(() => waiting.length > 0)
  for (const response of waiting) response.writeHead(200).end('{"central":[]}')
  await until(() => planner.ended().length === 1)
  assert.ok(!host.lines.some((line) => /does not take an event/.test(line)), host.lines.join('\n'))
})
