import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Budget } from '../../../src/core/budget.ts'
import { archiveSource } from '../../../src/storage/archive/source.ts'
import { archiveTarget } from '../../../src/storage/archive/target.ts'
import { tmpDir } from '../../support/tmp.ts'
import { outcome, processesIn, processesWith, shellCopy, startCopy, until } from './processes.ts'

const MIB = 1 << 20

test('a command gets the archive on its input, and its own output goes to the user', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const data = Buffer.alloc(3 * MIB, 'archive ')
  writeFileSync(join(dir, 'in'), data)
  const { code, stderr } = await shellCopy(`cd '${dir}'; $COPY in 'exec:echo seen; cat >out'`)
  assert.deepEqual({ code, stderr }, { code: 0, stderr: 'seen\n' })
  assert.ok(readFileSync(join(dir, 'out')).equals(data))
})

test('the output of a command is an archive', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const data = Buffer.alloc(3 * MIB + 1, 'archive ')
  writeFileSync(join(dir, 'in'), data)
  assert.equal((await outcome(startCopy(`exec:cat '${dir}/in'`, join(dir, 'out')))).code, 0)
  assert.ok(readFileSync(join(dir, 'out')).equals(data))
})

test('a command that fails at the end is an error with what it said last', { timeout: 60_000 }, async () => {
  const { code, stderr } = await outcome(
    startCopy('/bin/sh', 'exec:cat >/dev/null; echo first >&2; echo tape jammed >&2; exit 7'),
  )
  assert.equal(code, 1)
  assert.match(stderr, /^warning sink: first\nsink: the command '.*' ended with exit code 7: tape jammed\n$/)
})

test('a command that ends before it has read all is an error, even with exit code 0', { timeout: 60_000 }, async () => {
  const { code, stderr } = await outcome(startCopy('/dev/zero', 'exec:head -c 10 >/dev/null'))
  assert.equal(code, 1)
  assert.match(stderr, /ended with exit code 0 before it had taken the whole archive\n$/)
})

test('a command that closes its input and goes on is ended', { timeout: 60_000 }, async () => {
  const marker = `sleep 986${process.pid}`
  const { code, stderr } = await outcome(startCopy('/dev/zero', `exec:exec <&-; ${marker}`))
  assert.equal(code, 1)
  assert.match(stderr, /closed its end of the pipe before the archive was complete\n$/)
  await until(() => processesWith(marker).length === 0, 'what it had started has ended')
})

test('a command that does not exist is an error', { timeout: 60_000 }, async () => {
  const { code, stderr } = await outcome(startCopy('exec:no-such-command-here', '/dev/null'))
  assert.equal(code, 1)
  assert.match(stderr, /ended with exit code 127: .*no-such-command-here.*not found\n$/)
})

test('a source command that fails after its bytes leaves no archive', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const { code, stderr } = await outcome(startCopy('exec:echo bytes; exit 1', join(dir, 'vm.vma')))
  assert.equal(code, 1)
  assert.match(stderr, /^source: the command '.*' ended with exit code 1\n$/)
  assert.deepEqual(readdirSync(dir), [])
})

test('a source command that is killed is an error', { timeout: 60_000 }, async () => {
  const { code, stderr } = await outcome(startCopy('exec:echo bytes; kill -9 $$', '/dev/null'))
  assert.equal(code, 1)
  assert.match(stderr, /was ended by SIGKILL\n$/)
})

test('an abort does not look like the end of the archive to a command', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const controller = new AbortController()
  const line = `exec:cd '${dir}'; cat | cat >part && mv part whole`
  const target = archiveTarget(line, { signal: controller.signal })
  await target.open()
  await target.write([Buffer.from('half of it')])
  await until(() => readdirSync(dir).includes('part') && readFileSync(join(dir, 'part')).length > 0, 'the bytes arrive')
  controller.abort()
  await target.abort()
  await until(() => processesIn(dir).length === 0, 'the command is gone')
  assert.deepEqual(readdirSync(dir), ['part'])
})

test('SIGTERM ends the commands at both ends, whatever they wait for', { timeout: 60_000 }, async () => {
  const marker = `sleep 985${process.pid}`
  const child = startCopy(`exec:${marker}; true`, `exec:${marker}; true`)
  await until(() => processesWith(marker).length >= 4, 'both commands run')
  child.kill('SIGTERM')
  assert.equal((await outcome(child)).code, 130)
  await until(() => processesWith(marker).length === 0, 'both commands are gone')
})

test('a command that ignores SIGTERM is killed', { timeout: 60_000 }, async () => {
  const target = archiveTarget(`exec:trap '' TERM; echo $$ >&2; while :; do sleep 0.1; done`, { warn: () => {} })
  await target.open()
  await target.write([Buffer.from('x')])
  const started = performance.now()
  await target.abort()
  assert.ok(performance.now() - started < 10_000)
})

test('a reader that stops early ends the command', { timeout: 60_000 }, async () => {
  const marker = `984${process.pid}`
  const source = archiveSource(`exec:cat /dev/zero; : ${marker}`, { budget: new Budget(32 * MIB) })
  await source.open()
  const chunk = await source.read()
  assert.ok(chunk!.byteLength > 0)
  chunk!.release()
  await source.close()
  await source.close()
  await until(() => processesWith(marker).length === 0, 'what it had started has ended')
})
