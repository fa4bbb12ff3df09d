import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { archiveTarget } from '../../../src/storage/archive/target.ts'
import { tmpDir } from '../../support/tmp.ts'
import { lacking } from '../../support/tools.ts'
import { outcome, partialIn, processesWith, shellCopy, startCopy, until } from './processes.ts'

const bytes = (text: string) => [Buffer.from(text)]

test('a file has its name only once it is finished, and only its owner may read it', async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'vm.vma')
  const target = archiveTarget(path)
  await target.open()
  await target.write([Buffer.from('ab'), Buffer.from(''), Buffer.from('c')])
  await target.write(bytes('d'))
  assert.match(readdirSync(dir).join(), /^\.vm\.vma\.[^,]+\.partial$/)
  await target.finish()
  await target.abort()
  assert.deepEqual(readdirSync(dir), ['vm.vma'])
  assert.equal(readFileSync(path, 'utf8'), 'abcd')
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test('an abort leaves nothing, at whatever time and however often', async (t) => {
  const dir = tmpDir(t)
  const unopened = archiveTarget(join(dir, 'a'))
  await unopened.abort()
  const target = archiveTarget(join(dir, 'b'))
  await target.open()
  await target.write(bytes('x'))
  await target.abort()
  await target.abort()
  assert.deepEqual(readdirSync(dir), [])
})

test('a file that exists is refused before anything is written', async (t) => {
  const path = join(tmpDir(t), 'vm.vma')
  writeFileSync(path, 'old')
  await assert.rejects(archiveTarget(path).open(), { code: 'FAILED', message: /exists and was not overwritten/ })
  symlinkSync('nowhere', `${path}.link`)
  await assert.rejects(archiveTarget(`${path}.link`).open(), { message: /exists and was not overwritten/ })
  assert.equal(readFileSync(path, 'utf8'), 'old')
})

test('with force the old file stays until the new one is complete', async (t) => {
  const path = join(tmpDir(t), 'vm.vma')
  writeFileSync(path, 'old')
  const target = archiveTarget(path, { force: true })
  await target.open()
  await target.write(bytes('new'))
  assert.equal(readFileSync(path, 'utf8'), 'old')
  await target.finish()
  assert.equal(readFileSync(path, 'utf8'), 'new')
})

test('with force a symbolic link stays, and the file that it means is replaced', async (t) => {
  const dir = tmpDir(t)
  mkdirSync(join(dir, 'real'))
  writeFileSync(join(dir, 'real', 'vm.vma'), 'old')
  symlinkSync('real/vm.vma', join(dir, 'link'))
  const target = archiveTarget(join(dir, 'link'), { force: true })
  await target.open()
  await target.write(bytes('new'))
  await target.finish()
  assert.deepEqual(readdirSync(dir).sort(), ['link', 'real'])
  assert.equal(readFileSync(join(dir, 'real', 'vm.vma'), 'utf8'), 'new')
})

test('a file that appears during the backup is not overwritten', async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'vm.vma')
  const target = archiveTarget(path)
  await target.open()
  await target.write(bytes('ours'))
  writeFileSync(path, 'theirs')
  await assert.rejects(target.finish(), { code: 'FAILED', message: /has appeared meanwhile/ })
  await target.abort()
  assert.deepEqual(readdirSync(dir), ['vm.vma'])
  assert.equal(readFileSync(path, 'utf8'), 'theirs')
})

test('one process does not write the same file twice at once', async (t) => {
  const path = join(tmpDir(t), 'vm.vma')
  const first = archiveTarget(path)
  await first.open()
  const second = archiveTarget(path)
  await assert.rejects(second.open(), { message: /by this very process/ })
  await second.abort()
  await first.write(bytes('first'))
  await first.finish()
  assert.equal(readFileSync(path, 'utf8'), 'first')
})

test('a missing folder and a name that is a folder are clear errors', async (t) => {
  const dir = tmpDir(t)
  await assert.rejects(archiveTarget(join(dir, 'no', 'vm.vma')).open(), { message: /no such file or directory/ })
  await assert.rejects(archiveTarget(dir).open(), { code: 'USAGE', message: /is a folder/ })
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} in the middle ends it with exit code 130 and leaves nothing`, { timeout: 60_000 }, async (t) => {
    const dir = tmpDir(t)
    const child = startCopy('/dev/zero', join(dir, 'vm.vma'))
    await partialIn(dir)
    child.kill(signal)
    const { code, stderr } = await outcome(child)
    assert.equal(code, 130)
    assert.match(stderr, new RegExp(`ended by ${signal}`))
    assert.deepEqual(readdirSync(dir), [])
  })
}

test('after kill -9 there is nothing under the name, and the next run clears up', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const marker = `sleep 987${process.pid}`
  const child = startCopy(`exec:cat /dev/zero | cat; ${marker}`, join(dir, 'vm.vma'))
  const partial = await partialIn(dir)
  child.kill('SIGKILL')
  await outcome(child)
  assert.deepEqual(readdirSync(dir), [partial])
  await until(() => processesWith(marker).length === 0, 'what it had started has ended')
  const next = await outcome(startCopy('/bin/sh', join(dir, 'vm.vma')))
  assert.equal(next.code, 0)
  assert.match(next.stderr, /removed .*left by a run that was killed/)
  assert.deepEqual(readdirSync(dir), ['vm.vma'])
})

test('a file size limit is a clear error with exit code 1, and leaves nothing', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const { code, stderr } = await shellCopy(`ulimit -f 2048; $COPY /dev/zero '${dir}/vm.vma'`)
  assert.equal(code, 1)
  assert.match(stderr, /^sink: file too large: .*file .*vm\.vma.*\n$/)
  assert.deepEqual(readdirSync(dir), [])
})

test('a full disk is a clear error with exit code 1, and leaves nothing', { timeout: 60_000 }, async (t) => {
  const disk = tmpDir(t)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', disk]).status !== 0) {
    return lacking(t, 'needs the right to mount a tmpfs')
  }
  try {
    const { code, stderr } = await outcome(startCopy('/dev/zero', join(disk, 'vm.vma')))
    assert.equal(code, 1)
    assert.match(stderr, /^sink: no space left on device: .*file .*vm\.vma.*\n$/)
    assert.deepEqual(readdirSync(disk), [])
  } finally {
    spawnSync('umount', [disk])
  }
})

test('two runs at once: one wins, the other says so, and the file is whole', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'vm.vma')
  const runs = ['a', 'b'].map((letter) =>
    outcome(startCopy(`exec:for i in 1 2 3 4 5; do echo ${letter}; sleep 0.05; done`, path)),
  )
  const results = await Promise.all(runs)
  assert.deepEqual(results.map(({ code }) => code).sort(), [0, 1])
  assert.match(readFileSync(path, 'utf8'), /^(a\n){5}$|^(b\n){5}$/)
  assert.deepEqual(readdirSync(dir), ['vm.vma'])
})
