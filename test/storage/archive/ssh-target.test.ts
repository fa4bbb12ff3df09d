import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { archiveTarget } from '../../../src/storage/archive/target.ts'
import { partialName, SHARED } from '../../../src/storage/partial-name.ts'
import { SSH_HOST, type Sshd, type SshdOptions, sshConfig, startSshd } from '../../support/sshd.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { outcome, partialIn, processesIn, processesWith, shellCopy, startCopy, until } from './processes.ts'

const MIB = 1 << 20
const options = { ...needs('sshd', 'ssh', 'ssh-keygen'), timeout: 60_000 }
const url = (name: string) => `ssh://${SSH_HOST}/~/${encodeURIComponent(name)}`

/** Nothing is there under any name, and no process of a session is left. */
async function nothingIsLeft({ home }: Sshd): Promise<void> {
  await until(() => readdirSync(home).length === 0, `${home} is empty`)
  await until(() => processesIn(home).length === 0, 'the remote script has ended')
}

test('an archive goes over ssh, whatever its name, and comes back', options, async (t) => {
  const { home } = await startSshd(t)
  const data = Buffer.alloc(5 * MIB + 3, 'archive bytes ')
  writeFileSync(join(home, 'in'), data)
  for (const name of ['vm.vma', `it's "$HOME" *\n`]) {
    const sent = await outcome(startCopy(join(home, 'in'), url(name)))
    assert.deepEqual(sent, { code: 0, signal: null, stderr: '' }, JSON.stringify(name))
    assert.ok(readFileSync(join(home, name)).equals(data))
    const back = await outcome(startCopy(url(name), join(home, 'back'), { force: true }))
    assert.deepEqual(back, { code: 0, signal: null, stderr: '' }, JSON.stringify(name))
    assert.ok(readFileSync(join(home, 'back')).equals(data))
  }
  assert.equal(readdirSync(home).length, 4)
})

test('an archive goes through a pipe to ssh, and comes back through one', options, async (t) => {
  const { home } = await startSshd(t)
  const data = Buffer.alloc(5 * MIB + 3, 'archive bytes ')
  writeFileSync(join(home, 'in'), data)
  const { code, stderr } = await shellCopy(
    `cd '${home}'; $COPY in - | ssh ${SSH_HOST} 'cat > x.vma' && ssh ${SSH_HOST} cat x.vma | $COPY - out`,
  )
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  assert.ok(readFileSync(join(home, 'out')).equals(data))
})

test('an absolute path is one there too', options, async (t) => {
  const { home } = await startSshd(t)
  const { code } = await outcome(startCopy('/bin/sh', `ssh://${SSH_HOST}${home}/vm.vma`))
  assert.equal(code, 0)
  assert.ok(readFileSync(join(home, 'vm.vma')).equals(readFileSync('/bin/sh')))
})

test('an account that runs no commands is told as such, for a target and a source', options, async (t) => {
  const { home } = await startSshd(t, { before: 'echo "This account is for sftp alone." >&2; exit 1' })
  writeFileSync(join(home, 'in'), 'x')
  for (const [from, to] of [
    [join(home, 'in'), url('out')],
    [url('in'), join(home, 'out')],
  ]) {
    const { code, stderr } = await outcome(startCopy(from, to))
    assert.equal(code, 1)
    assert.match(stderr, /exit code 1: This account is for sftp alone\..*a shell that runs commands/)
  }
})

async function opening(t: TestContext, to: string, sshd?: SshdOptions): Promise<never> {
  await startSshd(t, sshd)
  const target = archiveTarget(to)
  try {
    await target.open()
  } finally {
    await target.abort()
  }
  throw new Error(`${to} was opened`)
}

test('a remote file that exists is refused before anything is sent', options, async (t) => {
  const before = 'echo old > vm.vma'
  await assert.rejects(opening(t, url('vm.vma'), { before }), { code: 'FAILED', message: /'~\/vm.vma' on .* exists/ })
})

test('a remote folder that is missing is refused before anything is sent', options, async (t) => {
  await assert.rejects(opening(t, `ssh://${SSH_HOST}/~/no/vm.vma`), { message: /in a folder that does not exist/ })
})

test('a remote folder that cannot be written to is refused before anything is sent', options, async (t) => {
  await assert.rejects(opening(t, `ssh://${SSH_HOST}/proc/vm.vma`), { message: /cannot be created: .*\/proc\// })
})

test('a host that does not let us in is a clear error', options, async (t) => {
  await assert.rejects(opening(t, `ssh://nobody-of-that-name@${SSH_HOST}/x`), {
    code: 'FAILED',
    message: /^ssh to .* ended with exit code 255: .*Permission denied/,
  })
})

test('a host where nobody listens is a clear error', options, async (t) => {
  await assert.rejects(opening(t, `ssh://${SSH_HOST}:1/x`), {
    message: /ended with exit code 255: .*onnection refused/,
  })
})

test('what startup files of the remote shell print does no harm', options, async (t) => {
  const { home } = await startSshd(t, { before: 'echo welcome; echo motd' })
  writeFileSync(join(home, 'in'), 'archive')
  assert.equal((await outcome(startCopy(join(home, 'in'), url('vm.vma')))).code, 0)
  assert.equal((await outcome(startCopy(url('vm.vma'), join(home, 'back')))).code, 0)
  assert.equal(readFileSync(join(home, 'back'), 'utf8'), 'archive')
})

test('a remote disk that is full is a clear error with exit code 1, and nothing is left', options, async (t) => {
  const sshd = await startSshd(t, { before: 'trap "" XFSZ; ulimit -f 4096' })
  const { code, stderr } = await outcome(startCopy('/dev/zero', url('vm.vma')))
  assert.equal(code, 1)
  assert.match(stderr, /sink: '~\/vm\.vma' on .* could not be written: cat: .*File too large\n$/)
  await nothingIsLeft(sshd)
})

test('a connection that is cut publishes nothing, and nothing is left', options, async (t) => {
  const sshd = await startSshd(t)
  const child = startCopy('/dev/zero', url('vm.vma'))
  await partialIn(sshd.home, MIB)
  assert.notDeepEqual(processesIn(sshd.home), [])
  sshd.cut()
  const { code, stderr } = await outcome(child)
  assert.equal(code, 1)
  assert.match(stderr, /sink: ssh to .* ended with exit code 255/)
  await nothingIsLeft(sshd)
})

for (const [signal, exit] of [
  ['SIGINT', 130],
  ['SIGTERM', 130],
  ['SIGKILL', null],
] as const) {
  test(`${signal} of the sender publishes nothing, and nothing is left at either end`, options, async (t) => {
    const sshd = await startSshd(t)
    const child = startCopy('/dev/zero', url('vm.vma'))
    await partialIn(sshd.home, MIB)
    child.kill(signal)
    assert.equal((await outcome(child)).code, exit)
    await nothingIsLeft(sshd)
    await until(() => processesWith(sshConfig(sshd.home)).length === 0, 'our ssh has ended')
  })
}

test('a host that says nothing any more is given up, by ssh itself', { timeout: 60_000 }, async (t) => {
  const bin = tmpDir(t)
  const outer = process.env.PATH
  t.after(() => {
    process.env.PATH = outer
  })
  process.env.PATH = `${bin}:${outer}`
  writeFileSync(join(bin, 'ssh'), '#!/bin/sh\necho "$*" >&2\nexit 255\n', { mode: 0o755 })
  const target = archiveTarget(url('vm.vma'))
  await assert.rejects(target.open(), /-o ServerAliveInterval=20 -o ServerAliveCountMax=3 /)
  await target.abort()
})

test('a remote file that appears during the backup is not overwritten', options, async (t) => {
  const { home } = await startSshd(t)
  const target = archiveTarget(url('vm.vma'))
  await target.open()
  await target.write([Buffer.from('ours')])
  writeFileSync(join(home, 'vm.vma'), 'theirs')
  await assert.rejects(target.finish(), { code: 'FAILED', message: /exists and was not overwritten/ })
  await target.abort()
  assert.deepEqual(readdirSync(home), ['vm.vma'])
  assert.equal(readFileSync(join(home, 'vm.vma'), 'utf8'), 'theirs')
})

test('with force a remote file is replaced when the new one is complete', options, async (t) => {
  const { home } = await startSshd(t)
  writeFileSync(join(home, 'vm.vma'), 'old')
  const target = archiveTarget(url('vm.vma'), { force: true })
  await target.open()
  await target.write([Buffer.from('new')])
  assert.equal(readFileSync(join(home, 'vm.vma'), 'utf8'), 'old')
  await target.finish()
  assert.equal(readFileSync(join(home, 'vm.vma'), 'utf8'), 'new')
  assert.deepEqual(readdirSync(home), ['vm.vma'])
})

test('what a run has left there that was killed is removed, and named', options, async (t) => {
  const { home } = await startSshd(t)
  writeFileSync(join(home, partialName(Buffer.from('other.vma'), SHARED).toString()), '')
  const { code, stderr } = await outcome(startCopy('/bin/sh', url('vm.vma')))
  assert.equal(code, 0)
  assert.deepEqual(readdirSync(home), ['vm.vma'])
  assert.match(
    stderr,
    /^warning sink: '.*\.other\.vma\..*\.partial' on .* was left by a run that was killed, and was removed/,
  )
})

test('an abort ends the wait for a host that does not answer', options, async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const controller = new AbortController()
  const target = archiveTarget(`ssh://127.0.0.1:${port}/vm.vma`, { signal: controller.signal })
  const opened = target.open()
  const [connection] = await once(server, 'connection')
  connection.on('error', () => {})
  controller.abort()
  await assert.rejects(opened, { code: 'ABORTED' })
  await target.abort()
  await until(() => processesWith(`-p ${port} -- 127.0.0.1`).length === 0, 'our ssh has ended')
})
