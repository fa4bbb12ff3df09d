import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { tmpDir } from '../support/tmp.ts'
import { vmapipe } from './cli.ts'

const limits = { timeout: 90_000 }
const ROOT = join(import.meta.dirname, '../..')

/** A folder in which `vmapipe` is installed. */
function project(t: Parameters<typeof tmpDir>[0]): string {
  const dir = tmpDir(t)
  const modules = join(dir, 'node_modules/vmapipe')
  mkdirSync(modules, { recursive: true })
  writeFileSync(join(modules, 'package.json'), '{"name":"vmapipe","type":"module","exports":"./index.js"}')
  writeFileSync(join(modules, 'index.js'), `export * from '${pathToFileURL(join(ROOT, 'src/index.ts'))}'\n`)
  return dir
}

test('a new stage and its test run as they stand, and a config can use the stage', limits, async (t) => {
  const dir = project(t)
  const { code, stdout, stderr } = await vmapipe(['new-stage', 'my-count', '--in', dir])
  assert.equal(code, 0, stderr)
  assert.match(stdout.toString(), /wrote .*my-count\.ts\nwrote .*my-count\.test\.ts\n/)
  // The test runner tells its children that they are such.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const run = spawnSync(process.execPath, ['--test', 'my-count.test.ts'], { cwd: dir, encoding: 'utf8', env })
  assert.equal(run.status, 0, run.stdout)
  assert.match(run.stdout, /pass 5\n/)
  writeFileSync(join(dir, 'in'), 'archive')
  writeFileSync(
    join(dir, 'my.yaml'),
    'use: [./my-count.ts]\nstages:\n  - source: { from: in }\n  - my-count\n  - sink: { to: out }\n',
  )
  const piped = await vmapipe(['run', 'my.yaml'], { cwd: dir })
  assert.equal(piped.code, 0, piped.stderr)
  assert.match(piped.stderr, /my-count: 7 bytes in all/)
  assert.equal(readFileSync(join(dir, 'out'), 'utf8'), 'archive')
})

test('the files have no type errors', limits, async (t) => {
  const dir = tmpDir(t)
  assert.equal((await vmapipe(['new-stage', 'one', '--in', dir])).code, 0)
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'))
  const { compilerOptions } = JSON.parse(readFileSync(join(ROOT, 'tsconfig.json'), 'utf8'))
  const paths = { vmapipe: [join(ROOT, 'src/index.ts')] }
  writeFileSync(
    join(dir, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: { ...compilerOptions, paths }, include: ['*.ts'] }),
  )
  const { status, stdout } = spawnSync('npx', ['tsc', '-p', dir], { cwd: ROOT, encoding: 'utf8' })
  assert.equal(status, 0, stdout)
})

test('no file is replaced, and a name that cannot be is refused', limits, async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'mine.test.ts'), 'keep')
  const cases: [string[], number, RegExp][] = [
    [['mine'], 1, /'.*mine\.test\.ts' exists/],
    [['../mine'], 2, /'\.\.\/mine' is no name for a stage/],
    [['My'], 2, /'My' is no name for a stage/],
    [['sink'], 2, /there is a stage 'sink' already/],
    [['class'], 2, /'class' is a word of the language/],
    [['other', '--in', join(dir, 'no-such-folder')], 1, /no such file or directory/],
  ]
  for (const [args, expected, message] of cases) {
    const { code, stderr } = await vmapipe(['new-stage', ...args], { cwd: dir })
    assert.equal(code, expected, stderr)
    assert.match(stderr, message)
  }
  assert.deepEqual(readdirSync(dir), ['mine.test.ts'])
})
