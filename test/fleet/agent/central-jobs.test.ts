import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { HostJobs } from '../../../src/fleet/agent/host-jobs.ts'
import { JobTimes } from '../../../src/fleet/agent/job-times.ts'
import type { Job } from '../../../src/jobs/file/schema.ts'
import { nextTimes } from '../../../src/jobs/schedule.ts'
import { tmpDir } from '../../support/tmp.ts'
import { lacking } from '../../support/tools.ts'

const text = (more = '') => `hosts: [all]\nguests: [{ libvirt: "*" }]\nto: /srv/backup\n${more}`

async function hostJobs(kept: string) {
  return HostJobs.open({
    ...{ folders: [], kept, allowPlaces: ['/srv/backup'], allowSockets: [], warn: assert.fail },
  })
}

test('central jobs of a planner fill neither the memory nor the disk of a host, and there is room again when some go', async (t) => {
  const kept = join(tmpDir(t), 'jobs')
  const jobs = await hostJobs(kept)
  const long = text(`# ${'x'.repeat(200_000)}\n`)
  const list = Array.from({ length: 400 }, (_, number) => ({ name: `job-${number}`, digest: '1' }))
  const fetch = async (name: string) => ({ name, digest: '1', text: long })
  await assert.rejects(jobs.take(list, fetch), { code: 'FAILED', message: /was left out: all have more than 4 MiB/ })
  const all = await jobs.all()
  assert.ok(all.length === 20 && all.every(({ problem }) => problem === null), `${all.length}`)
  assert.equal(readdirSync(kept).length, 20)
  assert.equal(await jobs.take([{ name: 'other', digest: '1' }], fetch), true)
  assert.deepEqual(
    (await jobs.all()).map(({ name }) => name),
    ['other'],
  )
})

test('what a central job says is read once, and anew when its text has changed', async (t) => {
  const jobs = await hostJobs(join(tmpDir(t), 'jobs'))
  const take = (digest: string, said: string) =>
    jobs.take([{ name: 'a', digest }], async (name) => ({ name, digest, text: said }))
  await take('1', text('schedule: "01:30"\n'))
  const [first] = await jobs.all()
  assert.equal((await jobs.all())[0].job, first.job)
  await take('2', text('schedule: "02:30"\n'))
  assert.deepEqual((await jobs.all())[0].job!.schedule, ['02:30'])
  await take('3', text('hooks: { before: x }\n'))
  for (let count = 0; count < 2; count++)
    assert.match((await jobs.all())[0].problem!, /a central job cannot have 'hooks'/)
})

test('a job that is due each few seconds has a next time', async (t) => {
  const schedule = ['*:*:0/5']
  if ((await nextTimes(schedule, 0, 1)) === null) return lacking(t, 'systemd-analyze is missing')
  const times = new JobTimes()
  const job = { name: 'often', schedule } as Job
  const now = Date.now()
  const { last, next } = await times.of(job, now)
  assert.ok(last !== null && last > now - 6000 && last <= now, `${last}`)
  assert.ok(next.length === 10 && next[0] > now && next[0] <= now + 6000)
  // As the clock goes on there is always a next one.
  for (let ahead = 0; ahead < 3600; ahead += 100)
    assert.equal((await times.of(job, now + ahead * 1000)).next.length, 10, `${ahead} s later`)
})
