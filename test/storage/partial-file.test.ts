import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PartialFile } from '../../src/storage/partial-file.ts'
import { renameOver, renameToNew } from '../../src/storage/rename-file.ts'
import { LAUNCHER } from '../cli/cli.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, needs } from '../support/tools.ts'

const timeout = 60_000

test('what was put in the place of the file meanwhile does not get its name, and stays', { timeout }, async (t) => {
  for (const force of [false, true]) {
    const dir = tmpDir(t)
    const warnings: string[] = []
    const file = await PartialFile.create(join(dir, 'x'), { force, warn: (line) => warnings.push(line) })
    writeFileSync(join(dir, 'other'), 'somebody else')
    renameSync(join(dir, 'other'), file.path)
    await assert.rejects(file.publish(), { code: 'FAILED', message: /was replaced by another/ })
    await file.close()
    assert.ok(!existsSync(join(dir, 'x')))
    assert.equal(readFileSync(file.path, 'utf8'), 'somebody else')
  }
})

test('a file that was removed meanwhile is told of', { timeout }, async (t) => {
  const dir = tmpDir(t)
  for (const inFolder of [false, true]) {
    const file = await PartialFile.create(join(dir, 'x'), {}, { inFolder })
    rmSync(file.path)
    await assert.rejects(file.publish(), { code: 'FAILED', message: /was removed/ })
    await file.close()
    assert.deepEqual(readdirSync(dir), [])
  }
})

test('a name that the file has already, as its answer was lost, is no failure', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const [from, to] = [join(dir, 'from'), join(dir, 'to')]
  writeFileSync(from, 'x')
  linkSync(from, to)
  await renameToNew(from, to)
  await renameOver(from, to)
  assert.equal(readFileSync(to, 'utf8'), 'x')
  writeFileSync(join(dir, 'theirs'), 'theirs')
  await assert.rejects(renameToNew(to, join(dir, 'theirs')), { code: 'EEXIST' })
})

test('trouble of one does not keep others from being removed at the exit, and the exit code stays', {
  timeout,
}, (t) => {
  const dir = tmpDir(t)
  const script = `
    import { mkdirSync, writeFileSync } from 'node:fs'
    import { PartialFile } from '${new URL('../../src/storage/partial-file.ts', import.meta.url)}'
    const dir = ${JSON.stringify(dir)}
    const a = await PartialFile.create(dir + '/a.qcow2', {}, { inFolder: true })
    await PartialFile.create(dir + '/b')
    mkdirSync(a.path + '-in-the-way')
    process.exit(3)`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  assert.equal(status, 3, stderr)
  assert.match(stderr, /^vmapipe: '.*\.a\.qcow2\..*' is left: [^\n]*\n$/)
  assert.equal(readdirSync(dir).length, 1)
})

/** The command line under strace with these faults, and what strace saw of `traced`. */
function traced(dir: string, traced: string, faults: string[], args: string[]): { trace: string; stderr: string } {
  const inject = faults.flatMap((fault) => ['-e', `inject=${fault}`])
  const strace = ['-f', '-y', '-qq', '-o', join(dir, 'trace'), '-e', `trace=${traced}`, ...inject]
  const env = { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' }
  const { stderr } = spawnSync('strace', [...strace, process.execPath, LAUNCHER, ...args, '-q'], {
    encoding: 'utf8',
    env,
  })
  return { trace: existsSync(join(dir, 'trace')) ? readFileSync(join(dir, 'trace'), 'utf8') : '', stderr }
}

test('killed when it would get its name without hard links, nothing has that name', {
  timeout,
  ...needs('strace'),
}, (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(65_536, 1))
  mkdirSync(join(dir, 'out'))
  const args = ['backup', '-d', `d=${join(dir, 'disk.raw')}`, '-o', join(dir, 'out/x.vma')]
  const none = 'link,linkat:error=EPERM'
  const killed = traced(dir, 'link,linkat,renameat2', [none, 'renameat2:signal=KILL:when=1'], args)
  if (killed.trace === '') return lacking(t, `strace cannot trace here: ${killed.stderr}`)
  assert.match(killed.trace, /renameat2\(.*RENAME_NOREPLACE/)
  assert.match(readdirSync(join(dir, 'out')).join(), /^\.x\.vma\.[^,]*\.partial$|^x\.vma$/)
  for (const others of [[], ['renameat2:error=EINVAL']]) {
    rmSync(join(dir, 'out'), { recursive: true })
    mkdirSync(join(dir, 'out'))
    traced(dir, 'link,linkat,renameat2', [none, ...others], args)
    assert.deepEqual(readdirSync(join(dir, 'out')), ['x.vma'])
    assert.ok(statSync(join(dir, 'out/x.vma')).size > 0)
  }
})

test('folders that a restore makes are synced to those above them', { timeout, ...needs('strace') }, (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(65_536, 1))
  const archive = join(dir, 'a.vma')
  spawnSync(process.execPath, [LAUNCHER, 'backup', '-q', '-d', `d=${join(dir, 'disk.raw')}`, '-o', archive])
  mkdirSync(join(dir, 'above'))
  const { trace, stderr } = traced(dir, 'fsync', [], ['restore', archive, join(dir, 'above/new/vm')])
  if (trace === '') return lacking(t, `strace cannot trace here: ${stderr}`)
  for (const folder of ['above', 'above/new', 'above/new/vm'])
    assert.ok(trace.includes(`<${join(dir, folder)}>`), folder)
})

test('what is published was synced under its temporary name first', { timeout, ...needs('strace') }, (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(65_536, 1))
  const { trace, stderr } = traced(
    dir,
    'fsync,link',
    [],
    ['backup', '-d', `d=${join(dir, 'disk.raw')}`, '-o', join(dir, 'a.vma')],
  )
  if (trace === '') return lacking(t, `strace cannot trace here: ${stderr}`)
  const synced = trace.search(/fsync\(\d+<[^>]*\.a\.vma\.[^>]*\.partial>/)
  const linked = trace.search(/link\("[^"]*\.partial", "[^"]*a\.vma"/)
  assert.ok(synced >= 0 && linked > synced, trace)
})
