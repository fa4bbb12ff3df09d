import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Budget } from '../../../src/core/budget.ts'
import { archiveSource } from '../../../src/storage/archive/source.ts'
import { SSH_HOST, sshConfig, startSshd } from '../../support/sshd.ts'
import { needs } from '../../support/tools.ts'
import { outcome, partialIn, processesIn, processesWith, startCopy, until } from './processes.ts'

const MIB = 1 << 20
const options = { ...needs('sshd', 'ssh', 'ssh-keygen'), timeout: 60_000 }
const url = (name: string) => `ssh://${SSH_HOST}/~/${name}`

test('the size of a remote file is known before its bytes come', options, async (t) => {
  const { home } = await startSshd(t)
  writeFileSync(join(home, 'vm.vma'), Buffer.alloc(3 * MIB))
  const source = archiveSource(url('vm.vma'), { budget: new Budget(32 * MIB) })
  await source.open()
  assert.equal(source.size, 3 * MIB)
  await source.close()
})

test('a remote file that is missing or a folder is a clear error', options, async (t) => {
  const { home } = await startSshd(t)
  mkdirSync(join(home, 'dir'))
  const missing = await outcome(startCopy(url('vm.vma'), '/dev/null'))
  assert.equal(missing.code, 1)
  assert.match(missing.stderr, /^source: ssh to .* ended with exit code [12]: .*vm\.vma.*\n$/)
  const folder = await outcome(startCopy(url('dir'), '/dev/null'))
  assert.equal(folder.code, 2)
  assert.match(folder.stderr, /^source: '~\/dir' on .* is a folder/)
})

test('a connection that is cut while it is read is an error, and leaves no archive', options, async (t) => {
  const sshd = await startSshd(t)
  const folder = join(sshd.home, 'here')
  mkdirSync(folder)
  const child = startCopy(`ssh://${SSH_HOST}/dev/zero`, join(folder, 'vm.vma'))
  await partialIn(folder, MIB)
  sshd.cut()
  const { code, stderr } = await outcome(child)
  assert.equal(code, 1)
  assert.match(stderr, /source: ssh to .* ended with exit code 255/)
  assert.deepEqual(readdirSync(folder), [])
})

test('a remote end that gives fewer bytes than the file has is an error', options, async (t) => {
  const { home } = await startSshd(t, { before: 'PATH=$PWD/bin:$PATH' })
  writeFileSync(join(home, 'vm.vma'), Buffer.alloc(MIB))
  mkdirSync(join(home, 'bin'))
  writeFileSync(join(home, 'bin', 'cat'), '#!/bin/sh\nexec head -c 1000\n', { mode: 0o755 })
  const { code, stderr } = await outcome(startCopy(url('vm.vma'), '/dev/null'))
  assert.equal(code, 1)
  assert.match(stderr, /^source: '~\/vm\.vma' on .* gave 1000 bytes of 1048576\n$/)
})

test('a reader that stops early leaves no process behind', options, async (t) => {
  const { home } = await startSshd(t)
  const source = archiveSource(`ssh://${SSH_HOST}/dev/zero`, { budget: new Budget(32 * MIB) })
  await source.open()
  ;(await source.read())!.release()
  await source.close()
  await until(() => processesWith(sshConfig(home)).length === 0, 'our ssh has ended')
  await until(() => processesIn(home).length === 0, 'the remote end has ended')
})
