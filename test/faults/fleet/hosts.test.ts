/**
 * A whole fleet of processes in network namespaces, which are killed, cut off and slowed down while backups run. Throughout one host is ten
 * minutes behind, another ten minutes ahead, and a third is reached by a slow network.
 */

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { verify } from '../../../src/operations/verify.ts'
import { needsPostgres } from '../../support/postgres.ts'
import { lacking } from '../../support/tools.ts'
import { FleetOfTest, HOSTS, type Host, MOST } from './fleet-of-test.ts'
import { Network } from './network.ts'

const limits = { timeout: 500_000 }
const TEN_MINUTES = 600_000

test('a fleet of five hosts in networks of their own', { ...limits, ...needsPostgres() }, async (t) => {
  const network = networkOf(t)
  if (network === null) return
  const fleet = await FleetOfTest.start(t, network)
  const { observer } = fleet
  /** How many archives each guest must have. */
  const wanted = new Map<string, number>()
  const jobs = new Map<Host, Record<string, string[]>>([
    ['h1', { nightly: ['h1-a', 'h1-b', 'nomad'], long: ['h1-long'] }],
    ['h2', { nightly: ['h2-a'] }],
    ['h3', { nightly: ['h3-a'] }],
    ['h4', { nightly: ['h4-a'] }],
    ['h5', { nightly: ['h5-a'] }],
  ])
  const guests = [...jobs.values()].flatMap((all) => Object.values(all).flat())

  const write = (host: Host) =>
    fleet.writeJobs(
      host,
      Object.fromEntries(
        // The long one takes minutes, until its limit is raised.
        Object.entries(jobs.get(host)!).map(([job, guests]) => [
          job,
          { guests, rate: job === 'long' ? '40KiB' : '2MiB' },
        ]),
      ),
    )

  /** Begins the job for these guests, and waits until each of them has been backed up, whatever `fault` does meanwhile. */
  const goesOn = async (only: readonly string[], fault: () => Promise<void> = async () => {}, job = 'nightly') => {
    const ids = await fleet.begin(job, ...only)
    assert.equal(ids.length, only.length)
    await fault()
    await end(ids)
  }
  const end = async (ids: readonly string[]) => {
    for (const { guest, state, reason } of await fleet.ended(ids)) {
      assert.equal(state, 'done', `${guest}: ${reason}`)
      wanted.set(guest!, (wanted.get(guest!) ?? 0) + 1)
    }
    observer.look()
    assert.deepEqual(observer.violations.splice(0), [])
    assert.deepEqual(
      Object.fromEntries([...wanted.keys()].map((guest) => [guest, fleet.archives(guest).length])),
      Object.fromEntries(wanted),
    )
  }

  await t.test(
    'come up with clocks that are wrong and a network that is slow, and no more guests at once than the storage allows',
    async () => {
      for (const guest of guests) fleet.makeGuest(guest)
      for (const host of HOSTS) write(host)
      await Promise.all(HOSTS.map((host) => fleet.admit(host)))
      const port = await fleet.slowWay()
      fleet.join('h1')
      fleet.join('h2')
      fleet.join('h3', { env: fleet.clock('h3', TEN_MINUTES) })
      fleet.join('h4', { env: fleet.clock('h4', -TEN_MINUTES) })
      fleet.join('h5', { port })
      await fleet.knows(guests)
      const skews = (await fleet.people.hosts()).map(({ skew }) => Math.round(skew! / 60) || 0)
      assert.deepEqual(skews, [0, 0, 10, -10, 0])
      const all = guests.filter((guest) => guest !== 'h1-long')
      await goesOn(all)
      assert.deepEqual([...observer.seen].map((one) => one.split(' ')[1]).sort(), [...all].sort(), 'each was seen')
      assert.equal(observer.atOnce, MOST, 'it had a use for all of them')
    },
  )

  await t.test('an agent is killed in the middle of a backup, and is started again', async () => {
    await goesOn(['h1-a', 'h1-b', 'h2-a'], async () => {
      await fleet.underWay('h1-a', 'h1-b')
      await fleet.killAgent('h1')
      fleet.join('h1')
    })
  })

  await t.test('the planner is killed while guests are backed up', async () => {
    await goesOn(['h2-a', 'h3-a', 'h4-a', 'h5-a'], async () => {
      await fleet.underWay('h2-a', 'h3-a', 'h4-a', 'h5-a')
      await fleet.killPlanner()
      await fleet.startPlanner()
    })
  })

  await t.test('PostgreSQL is killed while guests are backed up', async () => {
    await goesOn(['h2-a', 'h3-a', 'h4-a', 'h5-a'], async () => {
      await fleet.underWay('h2-a', 'h3-a', 'h4-a', 'h5-a')
      await fleet.cluster.kill()
      await sleep(2000)
      await fleet.cluster.start()
    })
  })

  await t.test(
    'a host is cut off while it backs up one guest that is done meanwhile, and one that is not',
    async () => {
      const long = await fleet.begin('long')
      await fleet.underWay('h1-long')
      await goesOn(['h1-a', 'h2-a', 'h3-a'], async () => {
        await fleet.underWay('h1-a')
        const before = fleet.told('h1').length
        observer.outOfReach.add('h1')
        network.cut('h1')
        try {
          await fleet.until('both sides notice, and one guest is done', async () => {
            const { state } = (await fleet.people.hosts()).find(({ host }) => host === 'h1')!
            const told = fleet.told('h1').slice(before)
            return state === 'gone' && /cannot be reached/.test(told) && /h1-a: backed up/.test(told)
          })
          assert.ok(
            observer.now.some(({ guest }) => guest === 'h1-long'),
            'the host goes on',
          )
        } finally {
          network.mend('h1')
        }
      })
      await fleet.raiseLimit('h1', 'long')
      await end(long)
      observer.outOfReach.delete('h1')
      const attempts = (await fleet.works()).filter(({ guest }) => guest === 'h1-long').map(({ attempt }) => attempt)
      assert.deepEqual(attempts, [1], 'what had never stopped was not begun again')
    },
  )

  await t.test('a guest moves to another host while it is backed up', async () => {
    const first = await fleet.begin('nightly', 'nomad')
    await fleet.underWay('nomad')
    jobs.get('h1')!.nightly = ['h1-a', 'h1-b']
    jobs.get('h2')!.nightly = ['h2-a', 'nomad']
    write('h1')
    write('h2')
    await fleet.people.rescan()
    await fleet.until('it belongs to its new host', async () => {
      const found = (await fleet.people.guests()).find(({ name }) => name === 'nomad')
      return found?.host === 'h2'
    })
    const second = await fleet.begin('nightly', 'nomad')
    assert.notDeepEqual(second, first)
    await end(first)
    await end(second)
    assert.ok(observer.seen.has('h1 nomad') && observer.seen.has('h2 nomad'))
  })

  await t.test('a host that does not come back is told, and its guest counts as unprotected', async () => {
    await fleet.killAgent('h5')
    await fleet.until('h5 is gone', async () => {
      const found = (await fleet.people.guests()).find(({ name }) => name === 'h5-a')
      return found?.state === 'unprotected' && /h5 is gone/.test(found.problem ?? '')
    })
    fleet.join('h5')
    await fleet.knows(guests)
  })

  await t.test('all archives can be read to their end, and nothing else is left', async () => {
    for (const guest of guests) {
      for (const name of fleet.archives(guest)) await verify({ from: join(fleet.place, guest, name) })
      const left = readdirSync(join(fleet.place, guest)).filter((name) => name.includes('.partial'))
      assert.deepEqual(left, [], guest)
    }
    const problems = (await fleet.people.guests()).filter(
      ({ name, state }) => guests.includes(name) && state !== 'good',
    )
    assert.deepEqual(problems, [])
  })
})

function networkOf(t: TestContext): Network | null {
  try {
    const network = new Network(HOSTS.length)
    t.after(() => network.close())
    return network
  } catch (error) {
    lacking(t, `no network namespaces: ${(error as Error).message}`)
    return null
  }
}
