/** The planner as it is served: on a real PostgreSQL, with agents that speak to it over HTTP and somebody who looks at its page. */

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Cluster, postgresPrograms, startPostgres } from '../../test/support/postgres.ts'
import { call } from './call.ts'
import { historySql } from './history.ts'
import { JOB } from './made-up.ts'
import { type Child, child } from './messages.ts'

const PER_HOST = 40
const PARALLEL = 4
const STORAGES = ['nas1', 'nas2']

export interface ServedOptions {
  hosts: number
  folder: string
  quick: boolean
}

/** Processor time is in seconds, dispatch in milliseconds. */
export interface Phase {
  name: string
  seconds: number
  planner: number
  database: number
  /** Backups that ended. */
  ended: number
  dispatch: number[]
}

export interface View {
  name: string
  /** Milliseconds of each answer. */
  times: number[]
  /** Of the planner's processor time for one answer, in milliseconds; what it does besides is taken off. */
  processor: number
  /** As it is sent, compressed. */
  bytes: number
}

export interface Served {
  hosts: number
  guests: number
  streams: number
  /** From the time at which all guests were due until the first streams were in use, in milliseconds each. */
  first: number[]
  begin: Phase
  phases: Phase[]
  views: View[]
  memory: { resident: number; most: number }
}

interface Used {
  processor: number
  resident: number
  most: number
}

interface Measured {
  dispatch: number[]
  first: number[]
  ended: number
  running: number
  failures: string[]
}

export async function served({ hosts, folder, quick }: ServedOptions): Promise<Served> {
  if (postgresPrograms() === undefined) throw new Error('postgresql is needed, and not installed')
  const cluster = await startPostgres()
  const children: Child[] = []
  try {
    const state = join(folder, 'planner')
    mkdirSync(state, { mode: 0o700 })
    const streams = Math.ceil(hosts * 0.3)
    const storages = Object.fromEntries(STORAGES.map((name) => [name, { parallel: streams }]))
    const profile =
      process.env.BENCH_PROFILE === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', process.env.BENCH_PROFILE]
    const planner = await child('./planner-process.ts', [cluster.url, state, JSON.stringify(storages)], profile)
    children.push(planner)
    await cluster.program('psql', '-q', '-d', 'postgres', '-c', historySql(hosts, PER_HOST))
    const fleet = await child('./hosts-process.ts')
    children.push(fleet)
    const result = await measured({ hosts, quick, streams: streams * STORAGES.length, cluster, planner, fleet })
    await fleet.ask('stop')
    await planner.ask('stop')
    if (profile.length > 0) await sleep(5000)
    return result
  } finally {
    for (const { process } of children) process.kill('SIGKILL')
    await cluster.stop()
  }
}

interface Parties {
  hosts: number
  quick: boolean
  streams: number
  cluster: Cluster
  planner: Child
  fleet: Child
}

async function measured({ hosts, quick, streams, cluster, planner, fleet }: Parties): Promise<Served> {
  const names = Array.from({ length: hosts }, (_, host) => `host-${host}`)
  const urls = await planner.ask<{ agents: string; page: string; link: string }>('urls')
  const tokens = await planner.ask<string[]>('tokens', names)
  const postmaster = postmasterOf(cluster)
  const used = async () => ({
    ...(await planner.ask<Used>('used')),
    database: processorOf(postmaster),
    at: performance.now(),
  })
  const phase = async (name: string, body: () => Promise<unknown>): Promise<Phase & { measured: Measured }> => {
    process.stderr.write(`  ${name}\n`)
    await fleet.ask('measured')
    const before = await used()
    await body()
    const after = await used()
    const measured = await fleet.ask<Measured>('measured')
    if (measured.failures.length > 0)
      throw new Error(`${measured.failures.length} requests of hosts failed: ${measured.failures[0]}`)
    return {
      ...{ name, measured, ended: measured.ended, dispatch: measured.dispatch },
      seconds: (after.at - before.at) / 1000,
      planner: after.processor - before.processor,
      database: after.database - before.database,
    }
  }

  const made = names.map((host, index) => ({
    ...{ host, token: tokens[index], storage: STORAGES[index % STORAGES.length] },
    guests: Array.from({ length: PER_HOST }, (_, guest) => ({
      name: `guest-${index}-${guest}`,
      identity: `00000000-0000-4000-8000-${String(index * PER_HOST + guest).padStart(12, '0')}`,
    })),
  }))
  const begin = await phase('all hosts say hello', () =>
    fleet.ask('begin', { url: urls.agents, hosts: made, parallel: PARALLEL }),
  )
  const due = await phase('all guests are due at once', async () => {
    const at = Date.now() + begin.seconds * 1500 + 5000
    await fleet.ask('due', at)
    await sleep(Math.max(0, at - Date.now()))
    for (let left = quick ? 30 : 120; left > 0; left--) {
      await sleep(500)
      const { running } = await planner.ask<{ running: number }>('running')
      if (running >= streams) break
    }
  })
  const steady = async (name: string, rate: number, seconds: number, body?: () => Promise<unknown>) => {
    await fleet.ask('rate', rate)
    await sleep(1000)
    return phase(name, async () => {
      const until = sleep(seconds * 1000)
      await body?.()
      await until
    })
  }
  const night = (hosts * PER_HOST) / (8 * 3600)
  const phases = [
    await steady('a night', night, quick ? 5 : 45),
    await steady('ten backups end in a second', 10, quick ? 5 : 20),
  ]
  await fleet.ask('rate', night)
  const share = phases[0].planner / phases[0].seconds
  process.stderr.write('  the page\n')
  const cookie = await signIn(urls)
  const views: View[] = []
  const since = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString()
  for (const [name, path] of [
    ['guests', 'guests'],
    ['now', 'now'],
    ['jobs', 'jobs'],
    ['hosts', 'hosts'],
    ['archives of a guest', 'archives?host=host-7&guest=guest-7-7'],
    ['runs of half a year', `runs?since=${since(182)}`],
    ['runs of a job, half a year', `runs?host=host-7&job=${JOB}&since=${since(182)}`],
  ]) {
    const rounds = quick ? 5 : 30
    const times: number[] = []
    let bytes = 0
    const before = await used()
    for (let round = 0; round < rounds; round++) {
      const asked = performance.now()
      const answer = await call(`${urls.page}/api/${path}`, { headers: { cookie, 'accept-encoding': 'gzip' } })
      if (answer.status !== 200) throw new Error(`${path} was answered with ${answer.status}: ${answer.text}`)
      times.push(performance.now() - asked)
      bytes = answer.bytes
      process.env.BENCH_VERBOSE && process.stderr.write(`    ${name} ${times.at(-1)!.toFixed(0)} ms ${bytes}\n`)
    }
    const after = await used()
    const own = after.processor - before.processor - (share * (after.at - before.at)) / 1000
    views.push({ name, times, bytes, processor: Math.max(0, (own / rounds) * 1000) })
  }
  const watching = new AbortController()
  const events = call(`${urls.page}/api/events`, { headers: { cookie }, signal: watching.signal }).catch(() => {})
  phases.push(await steady('the same, and somebody looks at the page', night, quick ? 5 : 15))
  watching.abort()
  await events
  const { resident, most } = await planner.ask<Used>('used')
  return {
    hosts,
    guests: hosts * PER_HOST,
    streams,
    first: due.measured.first,
    begin,
    phases,
    views,
    memory: { resident, most },
  }
}

async function signIn({ page, link }: { page: string; link: string }): Promise<string> {
  const { cookie, text } = await call(`${page}/api/link`, { headers: { origin: page }, body: { token: link } })
  if (cookie === undefined) throw new Error(`no session: ${text}`)
  return cookie
}

function postmasterOf({ url }: Cluster): number {
  const folder = new URL(url).searchParams.get('host')!
  return Number(readFileSync(join(folder, 'data', 'postmaster.pid'), 'utf8').split('\n')[0])
}

/** Seconds of processor time of PostgreSQL: of its processes that run, and of those that have ended. */
function processorOf(postmaster: number): number {
  const ticks = (pid: number, ended: boolean) => {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
        .replace(/^.*\) /, '')
        .split(' ')
        .map(Number)
      return fields[11] + fields[12] + (ended ? fields[13] + fields[14] : 0)
    } catch {
      return 0
    }
  }
  const children = readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, 'latin1').split(' ').filter(Boolean)
  return [ticks(postmaster, true), ...children.map((pid) => ticks(Number(pid), false))].reduce((a, b) => a + b) / 100
}
