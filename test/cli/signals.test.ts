import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { processesWith, until } from '../storage/archive/processes.ts'
import { writeImage } from '../support/image.ts'
import { lateness } from '../support/lateness.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { type CliOptions, startCli, vmapipe } from './cli.ts'

const timeout = 120_000
const MIB = 1 << 20
/** What a person waits for; more than the program promises. What others take of this machine comes on top. */
const SOON_MS = 3500

const HUNG = join(import.meta.dirname, '../support/hung-calls.mjs')

interface Running {
  child: ChildProcess
  said(): string
  /** Waits until it has ended, and gives its exit code. */
  end(signal: NodeJS.Signals): Promise<number | null>
}

function running(t: TestContext, args: string[], options: CliOptions = {}): Running {
  const child = startCli(args, options)
  t.after(() => child.kill('SIGKILL'))
  let stderr = ''
  child.stderr.on('data', (data) => {
    stderr += data
  })
  child.stdout.resume()
  const closed = once(child, 'close')
  const end = async (signal: NodeJS.Signals) => {
    const late = lateness()
    const begun = performance.now()
    child.kill(signal)
    const [code, by] = await closed
    const took = performance.now() - begun
    assert.ok(took < SOON_MS + late(), `it took ${took} ms`)
    assert.equal(by, null)
    return code
  }
  return { child, said: () => stderr, end }
}

/** Environment in which these calls of files whose names end so hang. */
function hung(dir: string, calls: string, name = ''): CliOptions {
  const fifo = join(dir, 'never')
  execFileSync('mkfifo', [fifo])
  return { env: { NODE_OPTIONS: `--import ${HUNG}`, HUNG_CALLS: calls, HUNG_FIFO: fifo, HUNG_NAME: name } }
}

const isHung = (dir: string) => () => readdirSync(dir).includes('never.waits')

function disk(dir: string): string {
  const path = join(dir, 'disk.raw')
  writeImage(path, 4 * MIB, { noise: 2 * MIB })
  return path
}

describe('what hangs in a system call', { timeout, ...needs('mkfifo') }, () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    test(`a target: ${signal} ends the backup, and nothing is left that is not named`, async (t) => {
      const dir = tmpDir(t)
      const args = ['backup', '-q', '-d', `d=${disk(dir)}`, '-o', join(dir, 'a.vma')]
      const { said, end } = running(t, args, hung(dir, 'sync,datasync'))
      await until(isHung(dir), 'the call that hangs')
      assert.equal(await end(signal), 130)
      assert.match(said(), /^vmapipe: (interrupted|ended by SIGTERM)[^\n]*\n$/)
      for (const name of readdirSync(dir)) {
        assert.ok(['disk.raw', 'never', 'never.waits'].includes(name) || said().includes(name), `${name}: ${said()}`)
      }
    })
  }

  test('a drive that is read, with all threads of the pool waiting for it: what is left is named', async (t) => {
    const dir = tmpDir(t)
    const options = hung(dir, 'read', 'disk.raw')
    const args = ['backup', '-q', '-d', `d=${disk(dir)}`, '-o', join(dir, 'a.vma')]
    const { said, end } = running(t, args, { env: { ...options.env, UV_THREADPOOL_SIZE: '1' } })
    await until(isHung(dir), 'the call that hangs')
    assert.equal(await end('SIGINT'), 130)
    const [left] = readdirSync(dir).filter((name) => name.endsWith('.partial'))
    assert.match(said(), /^vmapipe: interrupted; left behind: '[^\n]*'\n$/)
    assert.ok(said().includes(left), said())
  })

  test('an archive that is verified, and a second signal ends it at once', async (t) => {
    const dir = tmpDir(t)
    const archive = join(dir, 'a.vma')
    await vmapipe(['backup', '-q', '-d', `d=${disk(dir)}`, '-o', archive])
    const { child, said, end } = running(t, ['verify', archive], hung(dir, 'read', 'a.vma'))
    await until(isHung(dir), 'the call that hangs')
    child.kill('SIGINT')
    await sleep(400)
    const late = lateness()
    const begun = performance.now()
    assert.equal(await end('SIGINT'), 130)
    assert.ok(performance.now() - begun < 1000 + late())
    assert.match(said(), /^vmapipe: interrupted$/m)
  })
})

test('a command that ignores signals is ended with all that it has started', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const deaf = `exec:trap '' TERM INT; sleep 1000 & touch ${dir}/here; sleep 1000; cat >/dev/null`
  const { child, end } = running(t, ['backup', '-q', '-d', `d=${disk(dir)}`, '-o', deaf])
  await until(() => readdirSync(dir).includes('here'), 'the command')
  const family = () => processesWith(dir)
  assert.equal(await end('SIGINT'), 130)
  await until(() => family().length === 0, 'the end of all of them')
  assert.notEqual(child.pid, undefined)
})

describe('SIGUSR1', { timeout }, () => {
  /** Ports of the process; its sockets are files of it. */
  const ports = (pid: number) => {
    const folder = `/proc/${pid}/fd`
    const links = readdirSync(folder).map((fd) => {
      try {
        return readlinkSync(join(folder, fd))
      } catch {
        return ''
      }
    })
    const inodes = new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []))
    const tables = ['tcp', 'tcp6'].map((name) => readFileSync(`/proc/${pid}/net/${name}`, 'latin1').split('\n'))
    return tables.flat().filter((line) => inodes.has(line.trim().split(/\s+/)[9]))
  }

  for (const [how, flags] of Object.entries({ quiet: ['-q'], plain: [], none: ['--progress', 'none'] })) {
    test(`says how far a backup is, with ${how} output, and opens no port`, async (t) => {
      const dir = tmpDir(t)
      const args = ['backup', ...flags, '-d', `d=${disk(dir)}`, '-o', join(dir, 'a.vma'), '--bwlimit', '256KiB/s']
      const { child, said, end } = running(t, args)
      await until(() => readdirSync(dir).some((name) => name.endsWith('.partial')), 'the backup')
      child.kill('SIGUSR1')
      await until(() => /\d+% \(.* of 4\.0 MiB\) in .*, read: /.test(said()), 'the answer')
      assert.deepEqual(ports(child.pid!), [])
      assert.doesNotMatch(said(), /debugger/i)
      assert.equal(await end('SIGINT'), 130)
    })
  }

  test('opens no port either that stays if it comes before the program is loaded', async (t) => {
    for (const ms of [20, 40, 60, 80]) {
      const dir = tmpDir(t)
      const { child } = running(t, ['list', 'exec:touch here; exec sleep 1000'], { cwd: dir })
      await sleep(ms)
      child.kill('SIGUSR1')
      // Before Node itself has begun, the system ends the process.
      await until(() => child.signalCode !== null || readdirSync(dir).includes('here'), 'the command')
      if (child.signalCode !== null) continue
      await sleep(200)
      await until(() => ports(child.pid!).length === 0, 'the port is closed')
      child.kill('SIGKILL')
    }
  })

  test('is a line of JSON if all lines are', async (t) => {
    const dir = tmpDir(t)
    const args = [
      'backup',
      '--progress',
      'json',
      '-d',
      `d=${disk(dir)}`,
      '-o',
      join(dir, 'a.vma'),
      '--bwlimit',
      '1KiB/s',
    ]
    const { child, said, end } = running(t, args)
    await until(() => readdirSync(dir).some((name) => name.endsWith('.partial')), 'the backup')
    child.kill('SIGUSR1')
    await until(() => said().includes('"progress"'), 'the answer')
    await end('SIGINT')
    for (const line of said().trim().split('\n')) JSON.parse(line)
  })

  test('says what a service has, and ends neither it nor its backup', async (t) => {
    const dir = tmpDir(t)
    const socket = join(dir, 'nbd')
    const { child, said, end } = running(t, ['serve', '-d', `d=${disk(dir)}`, '--socket', socket])
    await until(() => said().includes('ready'), 'the service')
    child.kill('SIGUSR1')
    await until(() => /^serving 1 drive of 4\.0 MiB$/m.test(said()), 'the answer')
    assert.deepEqual(ports(child.pid!), [])
    assert.equal(await end('SIGTERM'), 0)
  })

  test('is nothing to a command that has no progress, from the first moment on', async (t) => {
    const dir = tmpDir(t)
    const { child, said, end } = running(t, ['list', 'exec:touch here; exec sleep 1000'], { cwd: dir })
    await until(() => readdirSync(dir).includes('here'), 'the command')
    child.kill('SIGUSR1')
    await until(() => /^vmapipe list has been running for \d+ s$/m.test(said()), 'the answer')
    assert.equal(await end('SIGINT'), 130)
  })
})
