import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { SOURCE_LAUNCHER as LAUNCHER } from '../support/program.ts'
import { tmpDir } from '../support/tmp.ts'

const limits = { timeout: 120_000 }

/** Makes this Node say that it is an old one, before the launcher looks. */
const OLD = "data:text/javascript,Object.defineProperty(process.versions,'node',{value:'20.20.2'})"

test('a HOME in which nothing can be made keeps nothing', limits, (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'file'), '')
  for (const home of ['/proc', '/proc/self', join(dir, 'file'), join(dir, 'not/there')]) {
    const env = { ...process.env, HOME: home, XDG_CACHE_HOME: '' }
    const { status } = spawnSync(process.execPath, [LAUNCHER, '--version'], { env, timeout: 120_000 })
    assert.equal(status, 0, home)
  }
})

/** A copy of the launcher where nothing else is, as a package somebody installed. */
function loneLauncher(dir: string): string {
  const folder = join(dir, 'node_modules/vmapipe/src/cli')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(dir, 'node_modules/vmapipe/package.json'), '{"name":"vmapipe","type":"module"}')
  copyFileSync(LAUNCHER, join(folder, 'vmapipe.js'))
  return join(folder, 'vmapipe.js')
}

test('an old Node alone is one line and exit code 2', limits, (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['--import', OLD, loneLauncher(tmpDir(t)), 'list'], {
    encoding: 'utf8',
  })
  assert.equal(status, 2)
  assert.match(stderr, /^vmapipe: Node 24 or newer is needed, this is 20\.20\.2; [^\n]+\n$/)
})

test('an old Node hands over to a newer one beside it: arguments, exit code and all', limits, (t) => {
  const dir = tmpDir(t)
  const launcher = loneLauncher(dir)
  const bin = join(dir, 'node_modules/node/bin')
  mkdirSync(bin, { recursive: true })
  writeFileSync(join(dir, 'node_modules/node/package.json'), '{"version":"24.1.0"}')
  const script = '#!/bin/sh\nfor a; do printf "<%s>" "$a"; done\nexit 7\n'
  writeFileSync(join(bin, 'node'), script, { mode: 0o755 })
  const { status, stdout } = spawnSync(process.execPath, ['--import', OLD, launcher, 'a b', "c'd"], {
    encoding: 'utf8',
  })
  assert.equal(status, 7)
  assert.ok(stdout.endsWith(`<${launcher}><a b><c'd>`), stdout)
})

test('the newer one has the descriptors that arguments name too', limits, (t) => {
  const dir = tmpDir(t)
  const launcher = loneLauncher(dir)
  const bin = join(dir, 'node_modules/node/bin')
  mkdirSync(bin, { recursive: true })
  writeFileSync(join(dir, 'node_modules/node/package.json'), '{"version":"24.1.0"}')
  writeFileSync(join(bin, 'node'), '#!/bin/sh\necho ready >&5\n', { mode: 0o755 })
  for (const flag of [['--ready-fd', '5'], ['--ready-fd=5'], ['-c', 'vm.conf=/dev/fd/5'], ['/proc/self/fd/5']]) {
    const { status, output } = spawnSync(process.execPath, ['--import', OLD, launcher, 'serve', ...flag], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
      encoding: 'utf8',
    })
    assert.deepEqual([status, output[5]], [0, 'ready\n'])
  }
})

test('the compiled command line is started where the sources are not shipped', limits, (t) => {
  const dir = tmpDir(t)
  const launcher = loneLauncher(dir)
  const dist = join(dir, 'node_modules/vmapipe/dist/cli')
  mkdirSync(dist, { recursive: true })
  writeFileSync(join(dist, 'main.js'), 'export const main = (argv) => console.log(argv.slice(2).join())')
  // As npm makes it: a link in node_modules/.bin.
  mkdirSync(join(dir, 'node_modules/.bin'))
  symlinkSync(launcher, join(dir, 'node_modules/.bin/vmapipe'))
  const { stdout } = spawnSync(process.execPath, [join(dir, 'node_modules/.bin/vmapipe'), 'x', 'y'], {
    encoding: 'utf8',
  })
  assert.equal(stdout, 'x,y\n')
})

test('a signal that asks how far it is goes on to the newer one, and opens no debugger', limits, async (t) => {
  const dir = tmpDir(t)
  const launcher = loneLauncher(dir)
  const bin = join(dir, 'node_modules/node/bin')
  mkdirSync(bin, { recursive: true })
  writeFileSync(join(dir, 'node_modules/node/package.json'), '{"version":"24.1.0"}')
  const script = '#!/bin/sh\ntrap "echo asked; exit 5" USR1\necho "$1"\nwhile :; do sleep 0.1; done\n'
  writeFileSync(join(bin, 'node'), script, { mode: 0o755 })
  const child = spawn(process.execPath, ['--import', OLD, launcher], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      said += data
    })
  }
  await once(child.stdout, 'data')
  child.kill('SIGUSR1')
  const [code] = await once(child, 'close')
  assert.equal(code, 5)
  assert.match(said, /asked/)
  assert.doesNotMatch(said, /debugger/i)
})
