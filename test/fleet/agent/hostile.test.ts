import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { plannerUrl } from '../../../src/fleet/agent/planner-client.ts'
import { readTokenFile } from '../../../src/fleet/agent/token-file.ts'
import { tmpDir } from '../../support/tmp.ts'
import { fleetHost, run } from './host.ts'
import { until } from './made-planner.ts'

const limit = { timeout: 120_000 }
const due = Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000

describe('a planner that was taken over', () => {
  test('can ask for nothing that is not in the list, and for nothing that the host does not have', limit, async (t) => {
    const host = await fleetHost(t)
    host.jobFile('nightly')
    mkdirSync(join(host.dir, 'other/web'), { recursive: true })
    await host.start()
    host.planner.give(run('good', due))
    await until(() => host.planner.ended().length === 1)
    const [name] = host.archives()
    const real = join(host.dir, 'place/web', name)
    writeFileSync(join(host.dir, 'other/web', name), readFileSync(real))
    writeFileSync(join(host.dir, 'place', name), readFileSync(real))
    const verify = (id: string, archive: string) => ({ id, attempt: 1, kind: 'verify', job: 'nightly', archive })
    const evil = join(host.dir, 'evil')
    const works = [
      { id: 'unknown', attempt: 1, kind: 'exec', command: `touch ${evil}` },
      { id: 'hook', attempt: 1, kind: 'install', job: 'nightly' },
      run('guest', due, { guest: 'db' }),
      run('guest-path', due, { guest: '../../x' }),
      run('job', due, { job: 'weekly' }),
      run('job-path', due, { job: '../nightly' }),
      run('job-command', due, { job: `$(touch ${evil})` }),
      run('no-time', due, { due: 'yesterday' }),
      run('future', Date.now() + 86_400_000),
      run('long-ago', Date.now() - 400 * 86_400_000),
      verify('file', '/etc/passwd'),
      verify('elsewhere', join(host.dir, 'other/web', name)),
      verify('above', `${host.dir}/place/web/../../other/web/${name}`),
      verify('dots', `${host.dir}/place/web/../web/${name}`),
      verify('folderless', join(host.dir, 'place', name)),
      verify('command', `exec:touch ${evil}`),
      verify('store', 's3://bucket/web/x.vma'),
      verify('ssh', 'ssh://-oProxyCommand=x/web/x.vma'),
      { id: 'prune-guest', attempt: 1, kind: 'prune', job: 'nightly', guest: '../web' },
      { id: 'prune-all', attempt: 1, kind: 'prune', job: 'nightly' },
    ]
    host.planner.give(...works, null, 7, 'text', [], { kind: 'run' }, { id: '../../x', attempt: 1, kind: 'exec' })
    for (const { id } of works) {
      const finished = await until(() => host.planner.finished(id))
      assert.equal(finished.outcome, 'refused', `${id}: ${finished.text}`)
    }
    assert.equal(host.planner.ended().length, 1)
    assert.deepEqual(host.archives(), [name])
    assert.equal(existsSync(evil), false)
    // What the job has is verified still.
    host.planner.give(verify('real', real))
    assert.equal((await until(() => host.planner.finished('real'))).outcome, 'done')
  })

  test(
    'can give fields that nobody knows: they are left out, and no field of a work changes the job',
    limit,
    async (t) => {
      const host = await fleetHost(t)
      host.jobFile('nightly')
      const evil = join(host.dir, 'evil')
      const more = {
        hooks: { before: `touch ${evil}` },
        pipeline: '/tmp/x.yaml',
        to: `exec:touch ${evil}`,
        env: { NODE_OPTIONS: `--require ${evil}` },
        __proto__: { full: true },
      }
      await host.start()
      host.planner.give(run('w1', due, more))
      const [ended] = await until(() => host.planner.ended().length > 0 && host.planner.ended())
      assert.deepEqual([ended.outcome, existsSync(evil)], ['done', false])
    },
  )

  test('cannot make a host save a central job under another name, or fill it with works', limit, async (t) => {
    const host = await fleetHost(t)
    host.jobFile('nightly')
    host.planner.answers.set('inventory', (_, response) =>
      response.end('{"central":[{"name":"../../evil","digest":"d"},{"name":"good","digest":"d"}]}'),
    )
    await host.start()
    await until(() => host.lines.some((line) => /no planner of this version/.test(line)))
    host.planner.answers.set('inventory', (_, response) => response.end('{"central":[{"name":"good","digest":"d"}]}'))
    host.planner.central.set('good', { name: 'nightly', digest: 'd', text: 'guests: 1\n' })
    await until(() => host.lines.some((line) => /another job than 'good'/.test(line)))
    assert.equal(existsSync(join(host.state, 'fleet/jobs/nightly.json')), false)
    host.planner.answers.delete('inventory')
    host.planner.give(...Array.from({ length: 900 }, (_, number) => run(`many-${number}`, due + number * 1000)))
    await until(() => host.planner.finished('many-899')?.outcome === 'refused')
  })
})

describe('a planner of another version', () => {
  test('one newer speaks the older protocol, and what is new in it is left out or refused', limit, async (t) => {
    const host = await fleetHost(t)
    host.jobFile('nightly')
    host.planner.answers.set('hello', (said, response) => {
      host.planner.hellos.push(said as never)
      response.end('{"protocol":1,"newest":2,"host":"host-1","heartbeat":200,"drained":false,"region":"x"}')
    })
    await host.start()
    host.planner.give(run('w1', due, { priority: 7 }), { id: 'new', attempt: 1, kind: 'migrate', guest: 'web' })
    await until(() => host.planner.ended().length === 1)
    assert.equal((await until(() => host.planner.finished('new'))).outcome, 'refused')
  })

  test('one that is too old, or too new, is told, and the host goes on by itself', limit, async (t) => {
    const host = await fleetHost(t)
    const time = new Date(Date.now() - 420_000)
    host.jobFile('nightly', `schedule: ${time.getMinutes()} ${time.getHours()} * * *\n`)
    host.planner.answers.set('hello', (_, response) =>
      response.end('{"protocol":2,"host":"host-1","heartbeat":200,"drained":false}'),
    )
    await host.start()
    await until(() => host.lines.some((line) => /speaks protocol 2, and this agent 1 to 1/.test(line)))
    await until(() => host.archives().length === 1)
    assert.deepEqual(host.planner.beats, [])
  })
})

describe('a token', () => {
  test('is not sent in the clear, but for a planner on this host', () => {
    for (const url of [
      'http://planner:8080',
      'http://10.0.0.1',
      'http://127.0.0.1.evil.org',
      'ftp://x',
      'planner',
      'https://user@x',
    ])
      assert.throws(() => plannerUrl(url), { code: 'USAGE' }, url)
    for (const url of ['https://planner:8443', 'http://127.0.0.1:1', 'http://localhost:1', 'http://[::1]:1'])
      assert.equal(plannerUrl(url).href.startsWith(url.split(':')[0]), true)
  })

  test('is in a file that only its owner may read', async (t) => {
    const file = join(tmpDir(t), 'token')
    writeFileSync(file, 'a-token-of-the-test\n', { mode: 0o600 })
    assert.equal(await readTokenFile(file), 'a-token-of-the-test')
    const { chmodSync } = await import('node:fs')
    for (const mode of [0o640, 0o604]) {
      chmodSync(file, mode)
      await assert.rejects(readTokenFile(file), { code: 'USAGE', message: /others may read/ })
    }
    chmodSync(file, 0o600)
    writeFileSync(file, 'a\r\nInjected: header')
    await assert.rejects(readTokenFile(file), { code: 'USAGE', message: /no token/ })
  })

  test('that the planner does not take leaves the host on its own', limit, async (t) => {
    const host = await fleetHost(t)
    const time = new Date(Date.now() - 420_000)
    host.jobFile('nightly', `schedule: ${time.getMinutes()} ${time.getHours()} * * *\n`)
    await host.start({ token: 'a-token-that-was-revoked' })
    await until(() => host.lines.some((line) => /does not take the token: no such token/.test(line)))
    await until(() => host.archives().length === 1)
  })
})
