import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { definePipeline } from '../../src/core/pipeline.ts'
import type { BoundStage } from '../../src/core/stage.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { fault } from '../../src/stages/fault.ts'
import { hash } from '../../src/stages/hash.ts'
import { sink } from '../../src/stages/sink.ts'
import { chunksOf } from '../support/bytes.ts'
import { SSH_HOST, startSshd } from '../support/sshd.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const data = [randomBytes(100_000), randomBytes(7)]
const run = (...stages: BoundStage[]) => definePipeline([chunksOf(data), ...stages] as never).run()

const CHECKS = { sha256: 'sha256sum', sha512: 'sha512sum', b2: 'b2sum', xxh3: 'xxhsum' }

test(
  'all methods in one pass, each in the form that its program checks',
  needs(...Object.values(CHECKS)),
  async (t) => {
    const dir = tmpDir(t)
    for (const name of ['vm.vma', 'back\\slash.vma', 'two\nlines\\.vma']) {
      await run(hash({ method: ['sha256', 'sha512', 'blake2b', 'xxh3'] }), sink({ to: join(dir, name) }))
      for (const [ending, program] of Object.entries(CHECKS)) {
        // xxhsum reads no escaped names up to version 0.8.1.
        if (program === 'xxhsum' && name.includes('\n')) continue
        const check = () => spawnSync(program, ['-c', `${name}.${ending}`], { cwd: dir, encoding: 'utf8' })
        assert.equal(check().status, 0, `${program}: ${check().stdout}${check().stderr}`)
      }
    }
    writeFileSync(join(dir, 'vm.vma'), Buffer.concat([data[0], Buffer.from('forged!')]))
    for (const [ending, program] of Object.entries(CHECKS)) {
      assert.notEqual(spawnSync(program, ['-c', `vm.vma.${ending}`], { cwd: dir }).status, 0, program)
    }
  },
)

test('a run that fails leaves neither an archive nor a hash', async (t) => {
  const dir = tmpDir(t)
  for (const stages of [
    [hash(), fault({ 'at-byte': 100_003 }), sink({ to: join(dir, 'vm.vma') })],
    [fault({ 'at-item': 1 }), hash(), sink({ to: join(dir, 'vm.vma') })],
  ]) {
    await assert.rejects(run(...stages), { stage: 'fault' })
    assert.deepEqual(readdirSync(dir), [])
  }
})

test('a hash that is there is refused before anything is written, unless the sink may overwrite', async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'vm.vma.sha256'), 'old')
  await assert.rejects(run(hash(), sink({ to: join(dir, 'vm.vma') })), { stage: 'hash', message: /exists/ })
  assert.deepEqual(readdirSync(dir), ['vm.vma.sha256'])
  await run(hash(), sink({ to: join(dir, 'vm.vma'), force: true }))
  assert.match(readFileSync(join(dir, 'vm.vma.sha256'), 'utf8'), /^[0-9a-f]{64} {2}vm\.vma\n$/)
})

test('a hash in another folder names the whole path, and one of what has no name stands for standard input', async (t) => {
  const [dir, other] = [tmpDir(t), tmpDir(t)]
  await run(hash({ to: join(other, 'sums') }), sink({ to: join(dir, 'vm.vma') }))
  execFileSync('sha256sum', ['-c', join(other, 'sums')], { stdio: 'ignore' })
  await run(hash({ to: join(dir, 'plain') }), compressor(), sink({ to: join(dir, 'vm.vma.zst') }))
  execFileSync('sha256sum', ['-c', join(dir, 'plain')], {
    input: Buffer.concat(data),
    stdio: ['pipe', 'ignore', 'pipe'],
  })
})

test('by ssh the hash is beside the archive there', needs('sshd', 'ssh', 'ssh-keygen'), async (t) => {
  const { home } = await startSshd(t)
  await run(hash(), sink({ to: `ssh://${SSH_HOST}/~/vm.vma` }))
  execFileSync('sha256sum', ['-c', 'vm.vma.sha256'], { cwd: home, stdio: 'ignore' })
})

test('what it hashes must be what is in the file, unless a file is named for it', () => {
  const refused = { code: 'USAGE', stage: 'hash', message: /not what is in a file/ }
  assert.throws(() => definePipeline([chunksOf(data), hash(), compressor(), sink({ to: 'x' })] as never), refused)
  assert.throws(() => definePipeline([chunksOf(data), hash(), sink({ to: new PassThrough() })] as never), refused)
  assert.throws(() => definePipeline([chunksOf(data), hash(), sink({ to: 'exec:cat' })] as never), refused)
})

test('XXH3 without its compiled code says what to install', { timeout: 20_000 }, () => {
  const methods = new URL('../../src/stages/hash/methods.ts', import.meta.url).href
  const without = new URL('../support/no-compiled-code.mjs', import.meta.url).href
  const code = `import { METHODS } from '${methods}'; METHODS.xxh3.create()`
  const { stderr } = spawnSync(process.execPath, ['--import', without, '--input-type=module', '-e', code], {
    encoding: 'utf8',
  })
  assert.match(stderr, /XXH3 needs the package @node-rs\/xxhash/)
})
