import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { LAUNCHER } from '../../support/program.ts'
import { fleetHost, run } from './host.ts'
import { TOKEN, until } from './made-planner.ts'

const limit = { timeout: 180_000 }
const due = Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000

/** A host whose agent is the command, as a process of its own. */
async function commandHost(t: Parameters<typeof fleetHost>[0], more: string) {
  const host = await fleetHost(t)
  host.jobFile('nightly', more)
  mkdirSync(join(host.dir, 'config/vmapipe'), { recursive: true })
  renameSync(host.folder, join(host.dir, 'config/vmapipe/jobs'))
  const token = join(host.dir, 'token')
  writeFileSync(token, `${TOKEN}\n`, { mode: 0o600 })
  const env = {
    ...process.env,
    VMAPIPE_STATE: host.state,
    VMAPIPE_RUNTIME: host.runtime,
    XDG_CONFIG_HOME: join(host.dir, 'config'),
  }
  const children = new Set<ChildProcess>()
  t.after(() => {
    for (const child of children) child.kill('SIGKILL')
  })
  const start = (...words: string[]) => {
    const child = spawn(
      process.execPath,
      [LAUNCHER, 'fleet', 'join', host.planner.url, '--token-file', token, ...words],
      { env },
    )
    let text = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    children.add(child)
    return { child, text: () => text }
  }
  return { ...host, start }
}

/** Processes of backups whose parent is this one. */
function workersOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((one) => {
      try {
        const [, , parent] = /^\d+ \((.*)\) \S (\d+)/s.exec(readFileSync(`/proc/${one}/stat`, 'utf8')) ?? []
        return Number(parent) === pid && readFileSync(`/proc/${one}/cmdline`, 'utf8').includes('backup-worker')
      } catch {
        return false
      }
    })
}

const isThere = (pid: number) => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

describe('vmapipe fleet join', () => {
  test('that is killed takes its backups with it; the work that is given again is done once', limit, async (t) => {
    const host = await commandHost(t, 'rate: 100KiB\n')
    const first = host.start('--label', 'rack-2')
    host.planner.give(run('w1', due))
    const workers = await until(() => {
      const found = workersOf(first.child.pid!)
      return found.length > 0 && found
    })
    await until(() => host.planner.beats.some(({ running }) => running.some(({ id }) => id === 'w1')))
    first.child.kill('SIGKILL')
    await once(first.child, 'close')
    await until(() => !workers.some(isThere))
    assert.deepEqual(host.archives(), [])
    const file = join(host.dir, 'config/vmapipe/jobs/nightly.yaml')
    writeFileSync(file, readFileSync(file, 'utf8').replace('rate: 100KiB\n', ''))
    const second = host.start('--label', 'rack-2')
    await until(() => host.planner.hellos.length === 2)
    const [one, other] = host.planner.hellos
    assert.notEqual(one.incarnation, other.incarnation)
    assert.deepEqual(other.labels, ['rack-2'])
    host.planner.give(run('w1', due, { attempt: 2 }), run('w1', due, { attempt: 2 }))
    await until(() => host.planner.ended().length === 1)
    assert.deepEqual(
      host.planner.ended().map(({ outcome, already }) => [outcome, already]),
      [['done', undefined]],
    )
    assert.equal(host.archives().length, 1)
    second.child.kill('SIGTERM')
    const [code] = await once(second.child, 'close')
    assert.equal(code, 0)
    assert.match(second.text(), /nightly: web: backed up/)
  })

  test('that is killed while it prunes tells in the end all that it has removed', limit, async (t) => {
    const host = await commandHost(t, '')
    const file = join(host.dir, 'config/vmapipe/jobs/nightly.yaml')
    const first = host.start()
    for (const number of [1, 2, 3, 4, 5]) host.planner.give(run(`w${number}`, due + number * 60_000))
    await until(() => host.planner.ended().length === 5)
    writeFileSync(file, readFileSync(file, 'utf8').replace(/^to: (.*)$/m, 'to: { place: $1, keep: { last: 1 } }'))
    host.planner.takes = false
    host.planner.give({ id: 'p1', attempt: 1, kind: 'prune', job: 'nightly' })
    await until(() => host.archives().length < 5)
    first.child.kill('SIGKILL')
    await once(first.child, 'close')
    host.planner.takes = true
    host.start()
    host.planner.give({ id: 'p1', attempt: 2, kind: 'prune', job: 'nightly' })
    const { outcome, text } = await until(() => host.planner.finished('p1'))
    assert.deepEqual([outcome, host.archives().length], ['done', 1])
    assert.match(text, /^4 archives were removed/)
  })

  test('that is ended ends its backups in order, and the planner does not take them for canceled', limit, async (t) => {
    const host = await commandHost(t, 'rate: 100KiB\n')
    const { child } = host.start()
    host.planner.give(run('w1', due))
    const workers = await until(() => {
      const found = workersOf(child.pid!)
      return found.length > 0 && found
    })
    await until(() => host.planner.beats.some(({ running }) => running.some(({ id }) => id === 'w1')))
    child.kill('SIGTERM')
    const [code] = await once(child, 'close')
    assert.equal(code, 0)
    await until(() => !workers.some(isThere))
    assert.deepEqual([host.planner.ended(), host.planner.finished('w1')], [[], undefined])
    const next = await host.start()
    await until(() => host.planner.hellos.length === 2)
    host.planner.give({ id: 'c', attempt: 1, kind: 'cancel', work: 'w1', reason: 'x' })
    await until(() => host.planner.finished('c'))
    next.child.kill('SIGTERM')
    await once(next.child, 'close')
  })

  test('--once-check sees whether the planner takes the token', limit, async (t) => {
    const host = await commandHost(t, '')
    const good = host.start('--once-check')
    assert.equal((await once(good.child, 'close'))[0], 0)
    assert.match(good.text(), /this host is 'host-1'[\s\S]*its jobs: nightly/)
    writeFileSync(join(host.dir, 'token'), 'another-token-than-that')
    const bad = host.start('--once-check')
    assert.equal((await once(bad.child, 'close'))[0], 1)
    assert.match(bad.text(), /does not take the token/)
  })
})
