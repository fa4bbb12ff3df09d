/** A schedule whose time comes while the planner is dead: planner and agent are processes, with the times that they have for users. */

import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PeopleClient } from '../../../src/fleet/client/people-client.ts'
import { startCli } from '../../cli/cli.ts'
import { foldersOf, startPlanner } from '../../cli/fleet/planner.ts'
import { until } from '../../fleet/agent/made-planner.ts'
import { writeImage } from '../../support/image.ts'
import { freePorts } from '../../support/ports.ts'
import { needsPostgres, startPostgres } from '../../support/postgres.ts'
import { tmpDir } from '../../support/tmp.ts'

const LONGEST_MS = 540_000
/** The planner must know the time before it comes. */
const AHEAD_MS = 20_000
const MINUTE_MS = 60_000

test('a guest that is due while the planner is dead is backed up by its host, and not again when the planner is back', {
  timeout: 600_000,
  ...needsPostgres(),
}, async (t) => {
  const dir = tmpDir(t)
  const cluster = await startPostgres()
  t.after(() => cluster.stop())
  const [port] = await freePorts(1)
  const planner = () =>
    startPlanner(t, ['--database', cluster.url, '--listen', `127.0.0.1:${port}`, '--no-page'], {
      ...{ dir: join(dir, 'planner'), longest: LONGEST_MS },
    })
  mkdirSync(join(dir, 'planner'))
  const first = await planner()
  const people = new PeopleClient({ socket: join(dir, 'planner/run/fleet.sock') })
  const token = join(dir, 'token')
  const made = await first.fleet('token', 'new', 'h1', '--out', token)
  assert.equal(made.code, 0, made.stderr)

  const host = join(dir, 'h1')
  const hooks = join(dir, 'hooks')
  mkdirSync(join(host, 'config/vmapipe/jobs'), { recursive: true })
  mkdirSync(join(dir, 'place'))
  for (const guest of ['web', 'db']) writeImage(join(dir, `${guest}.raw`), 2 << 20, { noise: 500_000 })
  const write = (job: string, guest: string, more = '') =>
    writeFileSync(
      join(host, `config/vmapipe/jobs/${job}.yaml`),
      `guests: [{ name: ${guest}, drives: { drive-scsi0: ${dir}/${guest}.raw } }]\nto: ${dir}/place\n${more}`,
    )
  write('by-hand', 'db')
  let told = ''
  let agent: ChildProcess | null = null
  t.after(() => agent?.kill('SIGKILL'))
  const startAgent = () => {
    const child = startCli(['fleet', 'join', first.url, '--token-file', token], {
      env: { ...foldersOf(host), XDG_CONFIG_HOME: join(host, 'config') },
      longest: LONGEST_MS,
    })
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text) => {
        told += text
      })
    agent = child
    return child
  }

  // One that came before the planner was dead, as this machine was busy, says nothing: then it is the next minute's.
  let due: number
  let running = first
  for (;;) {
    due = Math.ceil((Date.now() + AHEAD_MS) / MINUTE_MS) * MINUTE_MS
    const time = new Date(due)
    const schedule = `schedule: "${time.getMinutes()} ${time.getHours()} * * *"\n`
    write('nightly', 'web', `${schedule}hooks: { before: "echo x >> ${hooks}" }\n`)
    const child = startAgent()
    // In its database: what it knows only in memory dies with it.
    const inventory = `select count(*) from vmapipe.inventories where content::text like '%${time.toISOString()}%'`
    const query = () => cluster.program('psql', '-Atc', inventory, 'postgres')
    await until(async () => Date.now() > due || (await query()).trim() === '1')
    if (Date.now() < due) await running.end('SIGKILL')
    if (Date.now() < due) break
    child.kill('SIGKILL')
    await once(child, 'exit')
    rmSync(join(dir, 'place/web'), { recursive: true, force: true })
    if (running.child.exitCode !== null || running.child.signalCode !== null) running = await planner()
  }
  const name = `web-${new Date(due).toISOString().replace(/\.\d+|:/g, '')}.vma.zst`
  const archives = () =>
    existsSync(join(dir, 'place/web'))
      ? readdirSync(join(dir, 'place/web')).filter((file) => /\.vm[ai](\.zst)?$/.test(file))
      : []
  await until(() => /nightly: web: backed up/.test(told))
  assert.deepEqual(archives(), [name])
  assert.match(told, /web is backed up by this host's own schedule/)

  await planner()
  const own = await until(async () =>
    (await people.works({ guest: 'web', most: 10 }).catch(() => [])).find(({ id }) => id.startsWith('own-')),
  )
  assert.deepEqual([own.job, own.state, Date.parse(own.due)], ['nightly', 'done', due])
  // What the planner would give for that time, it would give before this.
  const [id] = await until(() => people.start({ job: 'by-hand' }).catch(() => null))
  await until(async () => (await people.works({ guest: 'db', most: 10 })).some((work) => work.id === id && work.ended))
  assert.match(told, /the planner gives db/)
  assert.doesNotMatch(told, /the planner gives web/)
  const works = await people.works({ guest: 'web', most: 10 })
  assert.ok(works.every((work) => work.id === own.id || (work.attempt === 0 && work.state === 'done')))
  assert.deepEqual([archives(), readFileSync(hooks, 'utf8')], [[name], 'x\n'])
  const guest = (await people.guests()).find((one) => one.name === 'web')!
  assert.ok(Date.parse(guest.lastGood!) >= due)
})
