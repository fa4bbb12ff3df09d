/** What a host says or does too late: it was cut off, copied, refused or canceled meanwhile. */

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { AgentOfTest } from './agent-of-test.ts'
import { type Opened, open, until } from './opened.ts'

const limits = { timeout: 120_000 }
const NAS = [{ place: '/mnt/nas', storage: 'nas', parallel: null }]
const places = { places: NAS }

describe('what comes late', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
  let fleet: Opened
  // Each test has hosts and guests of its own.
  before(async () => {
    fleet = await open({ folder, heartbeat: 500, storages: { nas: { parallel: 1 } } })
  })
  after(async () => {
    await fleet?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const stateOf = async (name: string) => (await fleet.people.hosts()).find(({ host }) => host === name)!.state
  const silence = async (agent: AgentOfTest) => {
    fleet.beating.splice(fleet.beating.indexOf(agent), 1)
    await until(async () => (await stateOf(agent.host)) === 'gone')
  }

  test('a host that tells of a backup that another one makes again frees nothing of that one', limits, async () => {
    const from = await fleet.host('a1', { guests: ['a-web'], jobs: [places] })
    await fleet.people.start({ host: 'a1', job: 'nightly' })
    const [first] = await from.work()
    await silence(from)
    const jobs = [
      { ...places, guests: ['a-web', 'a-db'] },
      { ...places, name: 'hourly', guests: ['a-web'] },
    ]
    const to = await fleet.host('a2', { guests: ['a-web', 'a-db'], jobs, parallel: 5 })
    const [again] = await to.work()
    assert.deepEqual([again.id, again.attempt > first.attempt], [first.id, true])
    // It has gone on by itself, and its guest is backed up there.
    await from.begin()
    await from.end(first)
    await fleet.people.start({ host: 'a2', job: 'nightly', guests: ['a-db'] })
    await fleet.people.start({ host: 'a2', job: 'hourly' })
    assert.deepEqual(await to.work({ wait: 1500 }), [], 'the storage and the guest are in use')
    const running = (await fleet.people.status()).running.filter(({ host }) => host === 'a1' || host === 'a2')
    assert.deepEqual(
      running.map(({ host, guest }) => [host, guest]),
      [['a2', 'a-web']],
    )
    await to.end(again, { already: true })
    const [next] = await to.work()
    await to.end(next)
    const [last] = await to.work()
    await to.end(last)
    assert.deepEqual([next, last].map((work) => work.kind === 'run' && work.guest).sort(), ['a-db', 'a-web'])
  })

  test('what was canceled is not tried again if its host dies before it hears of that', limits, async () => {
    const host = await fleet.host('b1', { guests: ['b-web'] })
    const [id] = await fleet.people.start({ host: 'b1', job: 'nightly' })
    await host.work()
    await fleet.people.cancel(id, 'not now')
    await silence(host)
    const [row] = (await fleet.people.works({ host: 'b1', most: 10 })).filter((work) => work.id === id)
    assert.deepEqual([row.state, row.reason], ['canceled', 'not now'])
    // It was only cut off, and runs the guest: it is told to end it. Another start of its agent is given nothing.
    await host.hello()
    assert.deepEqual((await host.beat()).stop, [id])
    const next = host.of(fleet)
    next.incarnation = 'next'
    next.running = []
    await next.begin()
    assert.deepEqual(await next.work({ wait: 1000 }), [])
  })

  test('a guest that moves as it is due is backed up where it is: its old host refuses it', limits, async () => {
    const from = await fleet.host('c1', { guests: ['c-web'] })
    const [id] = await fleet.people.start({ host: 'c1', job: 'nightly' })
    const [work] = await from.work()
    from.running = []
    const at = new Date().toISOString()
    await from.tell({ id: 'r', at, event: 'finished', work: id, outcome: 'refused', text: 'it has no such guest' })
    // Only now the hosts look at their guests.
    from.options.guests = []
    await from.inventory()
    const to = await fleet.host('c2', { guests: ['c-web'] })
    const [again] = await to.work()
    assert.deepEqual([again.id, again.attempt], [work.id, 2])
  })

  test('a token that is revoked ends the poll that waits with it: its host is given nothing more', limits, async () => {
    const { id } = await fleet.tokens.make({ name: 'd1', kind: 'agent' })
    const agent = await fleet.host('d1', { guests: ['d-web'] })
    const waiting = agent.work({ wait: 60_000 })
    await fleet.tokens.revoke(id)
    await fleet.people.start({ host: 'd1', job: 'nightly' })
    assert.deepEqual(await waiting, [])
  })

  test('of two agents with one token the one that said hello last is the host, and it is told', limits, async () => {
    const one = await fleet.host('e1', { guests: ['e-web', 'e-db'], parallel: 2 })
    const copy = one.of(fleet)
    copy.incarnation = 'of-the-copy'
    copy.running = []
    await copy.begin()
    fleet.beating.push(copy)
    await fleet.people.start({ host: 'e1', job: 'nightly' })
    assert.equal((await copy.work()).length, 2)
    // The first one still speaks, and does not take from the other what that one does.
    await until(async () => (await fleet.people.status()).problems.some((line) => /two agents.*e1/.test(line)))
    await assert.rejects(one.beat(), { code: 'USAGE', message: /another agent/ })
    await assert.rejects(one.hello(), { code: 'USAGE', message: /another agent/ })
    const running = (await fleet.people.status()).running.filter(({ host }) => host === 'e1')
    assert.deepEqual(
      running.map(({ attempt }) => attempt),
      [1, 1],
    )
    // When the other one is silent, it is the host again.
    fleet.beating.splice(fleet.beating.indexOf(one), 1)
    await silence(copy)
    await one.begin()
    assert.equal(await stateOf('e1'), 'up')
  })

  test('an archive on a storage that several hosts see is listed once, unless they do not agree', limits, async () => {
    const jobs = [{ places: [...NAS, { place: '/srv/backup', storage: null, parallel: null }] }]
    const one = await fleet.host('f1', { guests: [], jobs })
    const other = await fleet.host('f2', { guests: [], jobs })
    const told = (place: string, sizes: Record<string, number>) => ({
      ...{ id: randomUUID(), event: 'archives', at: new Date().toISOString(), job: 'nightly', place, guest: 'f-gone' },
      archives: Object.entries(sizes).map(([name, size]) => ({
        ...{ place: `${place}/f-gone/${name}`, name, guest: 'f-gone', uuid: name, ctime: 1, kind: 'full' },
        ...{ parent: null, size, encrypted: false, protected: false, notes: null, checks: [] },
      })),
    })
    await one.tell(told('/mnt/nas', { x: 1, y: 1 }), told('/srv/backup', { z: 1 }))
    await other.tell(told('/mnt/nas', { x: 1, y: 2 }), told('/srv/backup', { z: 1 }))
    const names = async () =>
      (await fleet.people.archives({ guest: 'f-gone' })).map(({ host, name }) => `${host} ${name}`).sort()
    assert.deepEqual(await names(), ['f1 x', 'f1 y', 'f1 z', 'f2 y', 'f2 z'])
    await silence(one)
    assert.deepEqual(await names(), ['f1 y', 'f1 z', 'f2 x', 'f2 y', 'f2 z'])
  })

  test('what somebody wants now is said to be for now, and what is due is not', limits, async () => {
    const minute = 60 * new Date().getUTCHours() + new Date().getUTCMinutes()
    const clock = (one: number) =>
      [Math.floor(one / 60) % 24, one % 60].map((number) => String(number).padStart(2, '0')).join(':')
    const window = `${clock(minute + 600)}-${clock(minute + 660)}`
    const host = await fleet.host('g1', { guests: ['g-web'], jobs: [{ window }] })
    await fleet.people.start({ host: 'g1', job: 'nightly' })
    const [work] = await host.work()
    assert.equal(work.kind === 'run' && work.now, true)
    await host.end(work)
    host.options.jobs = [{ name: 'hourly', next: [new Date(Date.now() + 1000).toISOString()] }]
    await host.inventory()
    const [due] = await host.work({ wait: 30_000 })
    assert.equal(due.kind === 'run' && due.now, undefined)
  })
})
