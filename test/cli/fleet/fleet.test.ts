/** The planner and the commands that ask it, as processes, with PGlite. */

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { ask, HELLO, INVENTORY } from '../../fleet/server/served.ts'
import { until } from '../../storage/archive/processes.ts'
import { tmpDir } from '../../support/tmp.ts'
import { oneLine, startCli, vmapipe } from '../cli.ts'
import { type Planner, startPlanner } from './planner.ts'

const limits = { timeout: 380_000 }

/** What a host may call a guest. */
const HOSTILE = 'web\u001b[2J\u202e\n<img src=x>'

const JOB = {
  ...{ name: 'nightly', central: false, description: null, schedule: ['daily'], next: [], window: null },
  ...{ places: [], guests: ['db', HOSTILE], promise: 86_400, problem: null },
}
const GUEST = {
  ...{ source: 'libvirt::x', identity: null, running: true, jobs: ['nightly'], lastGood: null },
  ...{ size: 1 << 30, seconds: null, stored: null },
}

describe('a planner as a process', limits, () => {
  const hooks: (() => void)[] = []
  let planner: Planner
  let token: string
  const say = (path: string, body: unknown) =>
    ask(Number(new URL(planner.url).port), `/agent/v1/${path}`, { token, body })
  const lines = async (...args: string[]) => {
    const { code, stdout, stderr } = await planner.fleet(...args)
    assert.equal(stderr, '', args.join(' '))
    const text = stdout.toString()
    assert.doesNotMatch(text.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u, 'nothing reaches the terminal that is not text')
    return { code, lines: text.trimEnd().split('\n'), text }
  }

  before(async () => {
    const dir = tmpDir({ after: (hook) => void hooks.push(hook) })
    // The host of this test sends no heartbeats.
    writeFileSync(join(dir, 'fleet.yaml'), 'heartbeat: 600s\n')
    planner = await startPlanner({ after: (hook) => void hooks.unshift(hook) }, ['--config', join(dir, 'fleet.yaml')], {
      dir,
    })
    token = (await lines('token', 'new', 'rack2-01', '--guests', '*')).lines[0]
    assert.equal((await say('hello', { ...HELLO, clock: Date.now() })).status, 200)
    const guests = ['db', HOSTILE].map((name) => ({ ...GUEST, name }))
    const told = { ...INVENTORY, guests, jobs: [JOB], warnings: ['libvirt is away \u001b[31m'] }
    assert.equal((await say('inventory', told)).status, 200)
    assert.equal((await say('beat', { incarnation: 'one', clock: Date.now(), running: [] })).status, 200)
  }, limits)
  after(() => {
    for (const hook of hooks) hook()
  })

  test('shows hosts, guests and jobs, whatever they are called', async () => {
    const hosts = await lines('hosts')
    assert.match(hosts.lines[1], /^rack2-01 +up +.* ago +0\.1\.0 +rack-2 +2 +0 of 2 .*libvirt is away \\u\{1b\}\[31m/)
    const guests = await lines('guests')
    assert.equal(guests.code, 3, 'some have no backup')
    assert.match(guests.text, /^web\\u\{1b\}\[2J\\u\{202e\}\\u\{a\}<img src=x> +rack2-01 +(overdue|late) +never/m)
    assert.match((await lines('jobs')).text, /^nightly +rack2-01 +own +daily/m)
    const rows = JSON.parse((await planner.fleet('guests', '--json')).stdout.toString())
    assert.deepEqual(rows.map(({ name }: { name: string }) => name).sort(), ['db', HOSTILE])
  })

  test('begins a job, shows why it waits, and cancels it', async () => {
    assert.equal((await lines('drain', 'rack2-01')).lines[0], 'rack2-01 gets no more work')
    const works = (await lines('start', 'nightly', '--guest', 'db', '--guest', HOSTILE)).lines
    assert.equal(works.length, 2)
    const status = await lines('status')
    assert.match(status.lines[0], /^hosts: 1 drained$/)
    assert.match(status.text, /^2 works waiting:$/m)
    for (const work of works) assert.ok(status.text.includes(work), 'the id can be seen')
    const [first] = works
    assert.equal((await lines('cancel', first)).lines[0], '1 work canceled')
    assert.match((await lines('works')).text, new RegExp(`canceled .*${first}`))
    assert.equal((await lines('drain', 'rack2-01', '--undo')).lines[0], 'rack2-01 gets work again')
    const answer = await say('work', { free: 2, wait: 20_000 })
    assert.deepEqual(
      answer.json.works.map(({ id, kind, job }: { id: string; kind: string; job: string }) => [id, kind, job]),
      [[works[1], 'run', 'nightly']],
    )
    const ended = {
      ...{ id: 'e1', at: new Date().toISOString(), event: 'ended', work: works[1], job: 'nightly', run: 'r1' },
      ...{ guest: answer.json.works[0].guest, started: new Date().toISOString(), outcome: 'done', report: {} },
    }
    assert.deepEqual((await say('events', { events: [ended] })).json, { taken: ['e1'] })
    assert.match(
      (await lines('works', '--host', 'rack2-01', '--since', '2020-01-01')).text,
      new RegExp(`done .*${works[1]}`),
    )
  })

  test('lists archives, and asks a host to read one and to prune', async () => {
    const archive = {
      ...{ place: '/srv/backup/db/x.vma', name: 'x.vma', guest: 'db', uuid: '1', ctime: 1_700_000_000, kind: 'full' },
      ...{ parent: null, size: 2048, encrypted: false, protected: true, notes: null, checks: [] },
    }
    const older = { ...archive, place: '/srv/backup/db/w.vma', name: 'w.vma', ctime: 1_600_000_000 }
    const event = { id: 'a1', at: new Date().toISOString(), event: 'archives', job: 'nightly', place: '/srv/backup' }
    await say('events', { events: [{ ...event, guest: 'db', archives: [older, archive] }] })
    const shown = await lines('archives', '--guest', 'db')
    assert.match(shown.lines[1], /^db +2023-11-1.* full .*rack2-01 +nightly +\/srv\/backup\/db\/x\.vma +protected$/)
    assert.equal(shown.lines.length, 3)
    const [verify] = (await lines('verify', '--guest', 'db', '--boot')).lines
    const [named] = (await lines('verify', older.place)).lines
    const [prune] = (await lines('prune', 'nightly', '--guest', 'db')).lines
    const { works } = (await say('work', { free: 0, wait: 20_000 })).json
    const told = works.map(({ id, kind, archive, boot, guest }: any) => [id, kind, archive, boot, guest])
    const wanted = [
      [verify, 'verify', archive.place, true, undefined],
      [named, 'verify', older.place, undefined, undefined],
      [prune, 'prune', undefined, undefined, 'db'],
    ]
    assert.deepEqual(told.sort(), wanted.sort())
    assert.match(oneLine(await planner.fleet('verify', '/etc/passwd')), /no host has told of the archive/)
    assert.match(oneLine(await planner.fleet('verify')), /give --guest/)
    assert.match(oneLine(await planner.fleet('prune', 'none')), /no host has a job 'none'/)
  })

  test('makes tokens, into files that only their owner reads, and takes them back', async () => {
    const file = join(planner.dir, 'rack2-02.token')
    const made = (await lines('token', 'new', 'rack2-02', '--out', file)).lines[0]
    const [, id] = /^the token (\S+) is in /.exec(made)!
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const text = readFileSync(file, 'utf8').trim()
    assert.ok(!made.includes(text))
    assert.match(
      oneLine(await planner.fleet('token', 'new', 'rack2-02', '--out', file)),
      /exists; name another file, or use --force/,
    )
    assert.equal(readFileSync(file, 'utf8').trim(), text)
    const none = join(planner.dir, 'none/x.token')
    const before = (await lines('token', 'list')).lines.length
    assert.match(oneLine(await planner.fleet('token', 'new', 'rack2-03', '--out', none)), /no such file or directory/)
    assert.equal((await lines('token', 'list')).lines.length, before, 'there is no token that nobody has')
    await lines('token', 'revoke', id)
    assert.match((await lines('token', 'list')).text, new RegExp(`^${id} +agent +rack2-02 .*revoked`, 'm'))
    const port = Number(new URL(planner.url).port)
    assert.equal((await ask(port, '/agent/v1/hello', { token: text, body: HELLO })).status, 401)
    assert.ok(!planner.told().includes(text))
  })

  test('is asked from elsewhere by a person’s token, and not by an agent’s', async () => {
    const file = join(planner.dir, 'ada.token')
    await lines('token', 'new', 'ada', '--person', '--out', file)
    const elsewhere = { env: { VMAPIPE_RUNTIME: join(planner.dir, 'other') } }
    const asked = await vmapipe(['fleet', 'hosts', '--url', planner.url, '--token-file', file], elsewhere)
    assert.equal(asked.code, 0, asked.stderr)
    const env = { VMAPIPE_FLEET_URL: planner.url, VMAPIPE_FLEET_TOKEN_FILE: file }
    assert.equal((await vmapipe(['fleet', 'hosts'], { env })).code, 0)
    writeFileSync(file, `${token}\n`)
    const refused = await vmapipe(['fleet', 'hosts'], { env })
    assert.equal(refused.code, 1)
    assert.match(oneLine(refused), /refuses the token: this token is for an agent/)
    const none = await vmapipe(['fleet', 'hosts', '--url', planner.url], elsewhere)
    assert.match(oneLine(none), /asks for a token; give --token-file/)
  })

  test('keeps central jobs, checked with line and column', async () => {
    const file = join(planner.dir, 'weekly.yaml')
    const text = 'hosts: [rack-2]\nguests: [{ libvirt: "*" }]\nto: /srv/backup\nschedule: weekly\n'
    writeFileSync(file, text)
    assert.match((await lines('job', 'put', file)).text, /^the job 'weekly' is for hosts with the label rack-2$/m)
    assert.match((await lines('job', 'list')).text, /^weekly +rack-2 +rack2-01/m)
    assert.deepEqual(
      (await say('inventory', { ...INVENTORY, jobs: [JOB] })).json.central.map(({ name }: { name: string }) => name),
      ['weekly'],
    )
    writeFileSync(file, `${text}hooks: { before: "rm -rf /" }\n`)
    const refused = await planner.fleet('job', 'put', file)
    assert.equal(refused.code, 2)
    assert.match(oneLine(refused), /weekly\.yaml:5:1: a central job cannot have 'hooks'/)
    await lines('job', 'remove', 'weekly')
    assert.match((await lines('job', 'list')).text, /there are no central jobs/)
  })

  test('shows its status again and again, until a signal ends it', async () => {
    const watching = startCli(['fleet', 'status', '--watch', '--json'], { env: planner.env })
    let text = ''
    watching.stdout.on('data', (data) => {
      text += data
    })
    await until(() => text.includes('\n'), 'a first line')
    const before = text.split('\n').length
    await lines('drain', 'rack2-01')
    await until(() => text.split('\n').length > before && text.includes('"drained":1'), 'a line for the change')
    await lines('drain', 'rack2-01', '--undo')
    watching.kill('SIGINT')
    assert.equal(await new Promise((resolve) => watching.once('exit', resolve)), 130)
    for (const line of text.trimEnd().split('\n')) assert.ok('hosts' in JSON.parse(line))
  })

  test('forgets a host, and refuses what is not there in one line', async () => {
    await lines('rescan')
    for (const [args, error] of [
      [['drain', 'nobody'], /there is no host 'nobody'/],
      [['cancel', 'w0'], /no such work/],
      [['start', 'none'], /no host has a job 'none'/],
      [['drain', 'a/../b'], /./],
      [['token', 'new', '../x'], /^vmapipe: name: /],
    ] as const) {
      const outcome = await planner.fleet(...args)
      assert.equal(outcome.code, 2, args.join(' '))
      assert.match(oneLine(outcome), error)
    }
  })

  test('keeps what it knows when it is killed, and ends in good order by a signal', async (t) => {
    await planner.end('SIGKILL')
    assert.match(oneLine(await planner.fleet('status')), /no planner of this user runs here/)
    const again = await startPlanner(t, [], { dir: planner.dir })
    assert.match((await again.fleet('hosts')).stdout.toString(), /^rack2-01 /m)
    assert.equal(await again.end(), 0)
    assert.ok(!existsSync(join(again.dir, 'run/fleet.sock')))
    assert.match(again.told(), /^stopping\nstopped$/m)
  })
})

describe('fleet serve', limits, () => {
  test('does not start with what makes no sense: one line, exit code 2', async (t) => {
    const dir = tmpDir(t)
    const env = { VMAPIPE_RUNTIME: join(dir, 'run'), VMAPIPE_STATE: join(dir, 'state') }
    const config = join(dir, 'fleet.yaml')
    const file = (text: string) => {
      const path = join(dir, `${Math.abs(text.length * 7919)}.yaml`)
      writeFileSync(path, text)
      return path
    }
    const cases: [args: string[], error: RegExp][] = [
      [['--listen', '0.0.0.0:8460'], /others can connect to 0\.0\.0\.0:8460, so TLS is needed there; give --tls-cert/],
      [['--listen', '[::]:8460', '--tls-cert', 'x'], /TLS needs a certificate and its key, and the key is missing/],
      [['--listen', 'nowhere'], /'nowhere' is no address to listen on; write it as/],
      [['--tls-cert', '/none', '--tls-key', '/none'], /cannot read the certificate: no such file/],
      [['--database', 'mysql://x'], /must be named as postgres:\/\//],
      [['--database', 'postgres://u:hunter2@h/d'], /can be read by every user of this host; put it into a file/],
      [['--database-password-file', '/none'], /there is a password of a database, and no database/],
      [['--config', config], /cannot read the config of the fleet: no such file/],
      [
        ['--config', file('storages: { nas1: { parallel: 4, paralel: 4 } }\n')],
        /\.yaml:1:34: storages\.nas1: there is no option 'paralel'; did you mean parallel/,
      ],
      [['--config', file('listen: [')], /\.yaml:\d+:\d+: /],
      [['--config', file('\nheartbeat: soon\n')], /\.yaml:2:12: heartbeat: expected a time such as 5s/],
      [['--config', file('listen: 10.0.0.1:8460\n')], /others can connect to 10\.0\.0\.1:8460/],
    ]
    await Promise.all(
      cases.map(async ([args, error]) => {
        const outcome = await vmapipe(['fleet', 'serve', ...args], { env, cwd: dir })
        assert.equal(outcome.code, 2, `${args.join(' ')}: ${outcome.stderr}`)
        assert.match(oneLine(outcome), error)
        assert.doesNotMatch(outcome.stderr, /hunter2/)
      }),
    )
  })

  test('takes its central jobs from a folder, and again on SIGHUP', async (t) => {
    const dir = tmpDir(t)
    const jobs = join(dir, 'jobs')
    mkdirSync(jobs)
    const job = (name: string, schedule: string) =>
      writeFileSync(
        join(jobs, name),
        `hosts: [rack-2]\nguests: [{ libvirt: "*" }]\nto: /srv/backup\nschedule: ${schedule}\n`,
      )
    job('nightly.yaml', 'daily')
    job('weekly.yaml', 'weekly')
    const config = join(dir, 'fleet.yaml')
    writeFileSync(config, 'listen: 127.0.0.1:0\nstorages: { nas1: { parallel: 4 } }\nheartbeat: 2s\njobs: jobs\n')
    const planner = await startPlanner(t, ['--config', config, '--listen', '127.0.0.1:0'], { dir })
    const names = async () =>
      JSON.parse((await planner.fleet('job', 'list', '--json')).stdout.toString())
        .map(({ name }: { name: string }) => name)
        .sort()
    assert.deepEqual(await names(), ['nightly', 'weekly'])
    rmSync(join(jobs, 'weekly.yaml'))
    job('monthly.yml', 'monthly')
    writeFileSync(join(jobs, 'nightly.yaml'), 'hosts: [rack-2]\nhooks: { end: x }\n')
    planner.child.kill('SIGHUP')
    await until(() => planner.told().includes('WARNING:'), 'it tells what is wrong')
    assert.match(planner.told(), /^WARNING: central job: nightly\.yaml:.* the job stays as it was$/m)
    while (JSON.stringify(await names()) !== '["monthly","nightly"]') await new Promise(setImmediate)
    const refused = await planner.fleet('job', 'remove', 'nightly')
    assert.equal(refused.code, 2)
    assert.match(oneLine(refused), /central jobs are the files in '.*jobs' of the planner; change them there/)
    assert.equal(await planner.end(), 0)
  })
})
