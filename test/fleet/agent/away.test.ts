import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { AgentEvent } from '../../../src/fleet/messages/events.ts'
import { fleetHost, run } from './host.ts'
import { until } from './made-planner.ts'

const limit = { timeout: 400_000 }

/** A schedule of each day, whose time was some minutes ago. */
function minutesAgo(minutes: number): { due: number; schedule: string } {
  const time = new Date(Date.now() - minutes * 60_000)
  time.setSeconds(0, 0)
  return { due: time.getTime(), schedule: `schedule: ${time.getMinutes()} ${time.getHours()} * * *\n` }
}

const nameOf = (time: number, guest = 'web') =>
  `${guest}-${new Date(time).toISOString().replace(/\.\d+|:/g, '')}.vma.zst`

describe('while the planner is away', () => {
  test('a host makes up what was due, and tells it later; the planner finds it done', limit, async (t) => {
    const host = await fleetHost(t, ['web', 'db'])
    const { due, schedule } = minutesAgo(7)
    host.jobFile('nightly', schedule)
    host.planner.leave()
    await host.start()
    await until(() => host.archives('web').length === 1 && host.archives('db').length === 1)
    assert.deepEqual(host.archives('db'), [nameOf(due, 'db')])
    host.planner.isAway = false
    const ended = await until(() => host.planner.ended().length === 2 && host.planner.ended())
    assert.deepEqual(
      ended.map(({ work, outcome, already }) => [work, outcome, already]),
      [
        [null, 'done', undefined],
        [null, 'done', undefined],
      ],
    )
    assert.match(ended[0].run, /-due$/)
    host.planner.give(run('w1', due))
    await until(() => host.planner.ended().length === 3)
    assert.equal(host.planner.ended()[2].already, true)
    assert.equal(host.archives().length, 1)
  })

  test('a host asks for no guests until it has told what it did meanwhile', limit, async (t) => {
    const host = await fleetHost(t)
    const { planner } = host
    host.jobFile('nightly', minutesAgo(7).schedule)
    planner.leave()
    await host.start()
    await until(() => host.lines.some((line) => /nightly: web: backed up/.test(line)))
    const unanswered: ServerResponse[] = []
    const free: unknown[] = []
    let isOver = false
    planner.answers.set('events', (said, response) => {
      unanswered.push(response)
      if (isOver || !(said.events as AgentEvent[]).some(({ event }) => event === 'ended')) return
      isOver = true
      // What was asked for just before it ended.
      free.length = 0
    })
    planner.answers.set('work', (said, response) => {
      free.push(said.free)
      response.end('{"works":[]}')
    })
    planner.isAway = false
    // A question that was on its way when the backup ended may still come.
    await until(() => isOver && free.length > 3)
    assert.deepEqual([...new Set(free.slice(1))], [0])
    planner.answers.delete('events')
    for (const response of unanswered) response.destroy()
    await until(() => free.at(-1) === 2)
    assert.equal(planner.ended().length, 1)
  })

  test('nothing is begun before the grace is over, and nothing while the planner is there', limit, async (t) => {
    const host = await fleetHost(t)
    host.jobFile('nightly', minutesAgo(7).schedule)
    await host.start({ timing: { grace: 2000 } })
    await until(() => host.planner.beats.length > 15)
    assert.deepEqual(host.archives(), [])
    host.planner.leave()
    const left = Date.now()
    await until(() => host.lines.some((line) => /own schedule/.test(line)))
    assert.ok(Date.now() - left >= 1900)
  })

  test('what was tried and has failed is not begun again and again', limit, async (t) => {
    const host = await fleetHost(t)
    const { due, schedule } = minutesAgo(7)
    host.jobFile('nightly', `${schedule}retry: { count: 0 }\nhooks: { before: "echo x >> ${host.dir}/hooks; false" }\n`)
    host.planner.leave()
    const first = await host.start()
    await until(() => host.lines.some((line) => /web: failed/.test(line)))
    await first.stop()
    await host.start()
    await new Promise((resolve) => setTimeout(resolve, 3000))
    assert.equal(readFileSync(join(host.dir, 'hooks'), 'utf8'), 'x\n')
    host.planner.isAway = false
    const [{ outcome }] = await until(() => host.planner.ended().length > 0 && host.planner.ended())
    assert.equal(outcome, 'failed')
    // The planner may try it again.
    host.jobFile('nightly', schedule)
    host.planner.give(run('w1', due))
    await until(() => host.archives().length === 1)
  })

  test('and comes back in the middle, it hears what runs, and no guest is backed up twice', limit, async (t) => {
    const host = await fleetHost(t)
    const { due, schedule } = minutesAgo(7)
    host.jobFile('nightly', `${schedule}hooks: { before: "echo x >> ${host.dir}/hooks; sleep 3" }\n`)
    host.planner.leave()
    await host.start()
    await until(() => host.lines.some((line) => /own schedule/.test(line)))
    // Its hook runs, so that the guest is locked.
    await until(() => existsSync(join(host.dir, 'hooks')))
    host.planner.isAway = false
    const { running } = await until(() => host.planner.beats.find((beat) => beat.running.length > 0))
    assert.deepEqual([running[0].id, running[0].job, running[0].guest], [null, 'nightly', 'web'])
    host.planner.give(run('w1', due))
    await until(() => host.planner.ended().length === 2)
    assert.deepEqual(
      host.planner
        .ended()
        .map(({ work, already }) => [work, already])
        .sort(),
      [
        [null, undefined],
        ['w1', true],
      ],
    )
    assert.equal(readFileSync(join(host.dir, 'hooks'), 'utf8'), 'x\n')
    assert.deepEqual(host.archives(), [nameOf(due)])
  })

  test('a planner that hangs, or answers nonsense, counts as away', limit, async (t) => {
    const host = await fleetHost(t)
    const { schedule } = minutesAgo(7)
    host.jobFile('nightly', schedule)
    host.planner.answers.set('hello', () => {})
    await host.start({ timing: { answer: 300 } })
    await until(() => host.archives().length === 1)
    assert.ok(host.lines.some((line) => /cannot be reached: no answer in 0.3 s/.test(line)))
    host.planner.answers.set('hello', (_, response) => response.end('<html>'))
    await until(() => host.lines.some((line) => /no planner of this version/.test(line)))
    host.planner.answers.set('hello', (_, response) => response.end(`"${'x'.repeat(5 << 20)}"`))
    await until(() => host.lines.some((line) => /more than 4 MiB/.test(line)))
    host.planner.answers.delete('hello')
    await until(() => host.planner.ended().length === 1)
  })

  test('central jobs go on, and are kept for their owner alone', limit, async (t) => {
    const host = await fleetHost(t)
    const { schedule } = minutesAgo(7)
    host.jobFile('own', 'description: the own one\n')
    const socket = createServer().listen(join(host.dir, 'mail.qmp'))
    t.after(() => socket.close())
    const text = `hosts: [all]\nguests: [{ qmp: ${host.dir}/*.qmp }]\nto: ${host.dir}/place\nretry: { count: 0 }\n${schedule}`
    host.planner.central.set('shared', { name: 'shared', digest: 'd1', text })
    host.planner.central.set('own', { name: 'own', digest: 'd2', text })
    host.planner.central.set('bad', {
      name: 'bad',
      digest: 'd3',
      text: `${text}hooks: { start: "touch ${host.dir}/evil" }\n`,
    })
    host.planner.central.set('far', { name: 'far', digest: 'd4', text: text.replace('/place', '/elsewhere') })
    const agent = await host.start({ allowSockets: [host.dir] })
    const jobs = await until(() => {
      const told = host.planner.inventories.at(-1)?.jobs ?? []
      return told.length === 4 && told
    })
    const job = (name: string) => jobs.find((one) => one.name === name)!
    assert.deepEqual([job('shared').central, job('shared').guests], [true, ['mail']])
    assert.deepEqual([job('own').central, job('own').description], [false, 'the own one'])
    assert.match(job('bad').problem!, /a central job cannot have 'hooks'/)
    assert.match(job('far').problem!, /writes to .*elsewhere/)
    assert.equal(statSync(join(host.state, 'fleet/jobs/shared.json')).mode & 0o777, 0o600)
    await agent.stop()
    host.planner.leave()
    await host.start({ allowSockets: [host.dir] })
    // Nobody speaks QMP there; that it was tried is what counts.
    await until(() => host.lines.some((line) => /shared: mail is backed up by this host's own schedule/.test(line)))
    host.planner.isAway = false
    host.planner.central.delete('shared')
    await until(() => host.planner.inventories.at(-1)!.jobs.every(({ name }) => name !== 'shared'))
  })

  test('a state that cannot be written loses no backup', limit, async (t) => {
    const host = await fleetHost(t)
    const { due, schedule } = minutesAgo(7)
    host.jobFile('nightly', schedule)
    const agent = await host.start()
    await until(() => host.planner.beats.length > 0)
    await agent.stop()
    // As on a full disk, nothing can be made in these folders: they are files.
    for (const name of ['fleet/outbox', 'jobs']) {
      const { rmSync } = await import('node:fs')
      rmSync(join(host.state, name), { recursive: true, force: true })
      writeFileSync(join(host.state, name), '')
    }
    host.planner.leave()
    await host.start()
    await until(() => host.archives().length === 1)
    host.planner.isAway = false
    const [ended] = await until(() => host.planner.ended().length > 0 && host.planner.ended())
    assert.equal(ended.outcome, 'done')
    host.planner.give(run('w1', due))
    await until(() => host.planner.ended().some(({ work, already }) => work === 'w1' && already))
    assert.ok(host.lines.some((line) => /events for the planner are in memory alone/.test(line)))
  })
})
