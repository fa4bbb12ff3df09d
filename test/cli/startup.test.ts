import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { SOURCE_LAUNCHER as LAUNCHER, makeProgram } from '../support/program.ts'
import { tmpDir } from '../support/tmp.ts'

const limits = { timeout: 60_000 }

/** Prints what is loaded. */
const SPY = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module'
registerHooks({ load: (url, context, next) => (process.stderr.write('loads ' + url + '\\n'), next(url, context)) })`)}`

/** The modules that a command loads, of node_modules and of src. */
function loadedBy(...args: string[]): string[] {
  return loaded(LAUNCHER, args).flatMap((url) => /\/((?:src|node_modules)\/.*)$/.exec(url)?.[1] ?? [])
}

function loaded(launcher: string, args: readonly string[]): string[] {
  const { status, stderr } = spawnSync(process.execPath, ['--import', SPY, launcher, ...args], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return [...stderr.matchAll(/^loads (file:.*)$/gm)].map(([, url]) => url)
}

const HEAVY = /zod|yaml|prom-client|streamx|stream-chain|koffi|lz4-napi|xxhash|cli-progress|src\/stages\/|core\/run\.ts/

test('--version loads no command and nothing that is heavy', limits, () => {
  const loaded = loadedBy('--version')
  assert.ok(loaded.includes('src/cli/main.ts'))
  assert.deepEqual(
    loaded.filter((module) => HEAVY.test(module) || module.startsWith('src/cli/commands/')),
    [],
  )
})

test('list of an uncompressed archive loads its own command and nothing that is heavy', limits, async (t) => {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk.raw')
  writeFileSync(disk, Buffer.alloc(100_000, 'x'))
  const archive = join(dir, 'a.vma')
  const guest = join(dir, 'guest.json')
  writeFileSync(guest, '{"version":1,"from":"qemu","name":"web","disks":[]}')
  await backup({ drives: { d: disk }, configs: { 'guest.json': guest }, to: archive })
  const loaded = loadedBy('list', archive)
  assert.deepEqual(
    loaded.filter((module) => HEAVY.test(module)),
    [],
  )
  assert.deepEqual(
    loaded.filter((module) => module.startsWith('src/cli/commands/')),
    ['src/cli/commands/list.ts'],
  )
})

test('the package has what is loaded together in few files', limits, (t) => {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk.raw')
  writeFileSync(disk, Buffer.alloc(100_000, 'x'))
  const archive = join(dir, 'a.vma')
  const program = makeProgram()
  const files = (...args: string[]) => loaded(program, args).filter((url) => url.includes('/dist/')).length
  for (const args of [
    ['--version'],
    ['backup', '-q', '-d', `d=${disk}`, '-o', archive],
    ['verify', '-q', archive],
    ['restore', '-q', archive, '-d', `d=${join(dir, 'back.raw')}`],
    ['list', archive],
  ]) {
    const count = files(...args)
    assert.ok(count <= 15, `${args[0]} loads ${count} files`)
  }
})

test('the help names every command, and a mistyped one gets a suggestion', limits, () => {
  const { stdout } = spawnSync(process.execPath, [LAUNCHER, '--help'], { encoding: 'utf8' })
  for (const name of ['backup', 'new-stage', 'demo']) assert.match(stdout, new RegExp(`^  ${name} `, 'm'))
  const { status, stderr } = spawnSync(process.execPath, [LAUNCHER, 'bakcup'], { encoding: 'utf8' })
  assert.equal(status, 2)
  assert.match(stderr, /did you mean backup/)
})
