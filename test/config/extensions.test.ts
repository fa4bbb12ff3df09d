import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { loadPipeline } from '../../src/config/load.ts'
import { vmapipe } from '../cli/cli.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking } from '../support/tools.ts'

const limits = { timeout: 60_000 }

const stage = (name: string, more = '') => `import { defineStage, VmapipeError, z } from 'vmapipe'
export const it = defineStage({
  name: '${name}', summary: 'says what it was told', input: 'bytes', output: 'same',
  options: z.strictObject({ word: z.string().default('hello').describe('what to say') }),
  create: ({ word }, { warn }) => ({ transform: (chunk, push) => push(chunk), flush: () => warn(word) }),
})
export default it
${more}`

function writeConfig(dir: string, use: string, name = 'echo') {
  writeFileSync(join(dir, 'in'), 'archive')
  writeFileSync(
    join(dir, 'my.yaml'),
    `use: ${use}\nstages:\n  - source: { from: ${dir}/in }\n  - ${name}: { word: hi }\n  - sink: { to: ${dir}/out, force: true }\n`,
  )
}

function put(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
}

const run = (dir: string) => vmapipe(['run', join(dir, 'my.yaml')], { cwd: '/' })

async function refused(dir: string, message: RegExp): Promise<void> {
  await assert.rejects(loadPipeline(join(dir, 'my.yaml')), { code: 'CONFIG', message })
}

test(
  'a config uses stages of a module, of a package and of a package with a scope, from its own folder',
  limits,
  async (t) => {
    const dir = tmpDir(t)
    put(join(dir, 'stages/mine.ts'), stage('echo'))
    for (const name of ['echo-stages', '@me/stages']) {
      put(
        join(dir, 'node_modules', name, 'package.json'),
        JSON.stringify({ name, type: 'module', exports: { import: './main.js' } }),
      )
      put(join(dir, 'node_modules', name, 'main.js'), stage(`echo-${name.length}`))
    }
    for (const [use, name] of [
      ['./stages/mine.ts', 'echo'],
      ['echo-stages', 'echo-11'],
      ["'@me/stages'", 'echo-10'],
    ]) {
      writeConfig(dir, `[${use}]`, name)
      const { code, stderr } = await run(dir)
      assert.equal(code, 0, stderr)
      assert.match(stderr, new RegExp(`${name}: hi`))
    }
  },
)

test('vmapipe stages and vmapipe schema know the stages of a module', limits, async (t) => {
  const dir = tmpDir(t)
  put(join(dir, 'mine.ts'), stage('echo'))
  const list = await vmapipe(['stages', '--use', 'mine.ts'], { cwd: dir })
  assert.match(list.stdout.toString(), /^echo +bytes → same +says what it was told$/m)
  const one = await vmapipe(['stages', 'echo', '--use', './mine.ts'], { cwd: dir })
  assert.match(one.stdout.toString(), /word +text +default hello +what to say/)
  const schema = await vmapipe(['schema', '--use', join(dir, 'mine.ts')], { cwd: '/' })
  assert.match(schema.stdout.toString(), /says what it was told/)
})

test('what cannot be used is an error with its place in the config', limits, async (t) => {
  const dir = tmpDir(t)
  put(join(dir, 'sink.ts'), stage('sink'))
  put(join(dir, 'nothing.ts'), 'export const x = 1\n')
  put(join(dir, 'broken.ts'), 'throw new Error("it is broken")\n')
  put(join(dir, 'name.ts'), stage('Echo It'))
  put(join(dir, 'kind.ts'), stage('echo').replace("input: 'bytes'", "input: 'sand'"))
  put(join(dir, 'text.txt'), '')
  const cases: [string, RegExp][] = [
    ['[./sink.ts]', /my\.yaml:1:7: use\[0\]: cannot use '\.\/sink\.ts': its stage 'sink' has the name of another one/],
    ['[./nothing.ts]', /it exports no stage/],
    ['[./broken.ts]', /cannot use '\.\/broken\.ts': it is broken/],
    ['[./name.ts]', /'Echo It' is no name for a stage/],
    ['[./kind.ts]', /its stage 'echo' takes 'sand'/],
    ['[./text.txt]', /it is no module/],
    ['[./gone.ts]', /no such file/],
    ['[../other.ts]', /not below the folder of the config/],
    ['[/etc/passwd]', /not below the folder of the config/],
    ['[no-such-package-here]', /there is no such package/],
    ["['node:fs']", /neither a path nor the name of a package/],
    ['[fs]', /there is no such package/],
    ['[a/../../b]', /neither a path nor the name of a package/],
    ["['data:text/javascript,1']", /neither a path nor the name of a package/],
    ['./mine.ts', /use: /],
    ['[5]', /use\[0\]: /],
  ]
  for (const [use, message] of cases) {
    writeConfig(dir, use)
    await refused(dir, message)
  }
})

test('code that another user may have put there is not loaded', limits, async (t) => {
  if (process.getuid?.() !== 0) return lacking(t, 'needs root to give files to another user')
  const dir = tmpDir(t)
  writeConfig(dir, '[./mine.ts]')
  put(join(dir, 'mine.ts'), stage('echo'))
  chmodSync(join(dir, 'mine.ts'), 0o646)
  await refused(dir, /others may write to '.*mine\.ts'/)
  chmodSync(join(dir, 'mine.ts'), 0o644)
  chownSync(join(dir, 'mine.ts'), 1234, 1234)
  await refused(dir, /'.*mine\.ts' belongs to another user/)
  chownSync(join(dir, 'mine.ts'), 0, 0)
  chmodSync(dir, 0o777)
  await refused(dir, /others may write to/)
  chmodSync(dir, 0o1777)
  assert.equal((await run(dir)).code, 0)
  put(join(dir, 'theirs/real.ts'), stage('echo'))
  chmodSync(join(dir, 'theirs'), 0o777)
  symlinkSync('theirs/real.ts', join(dir, 'link.ts'))
  writeConfig(dir, '[./link.ts]')
  await refused(dir, /others may write to '.*theirs'/)
})
