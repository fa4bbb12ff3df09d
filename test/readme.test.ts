import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { readJob } from '../src/jobs/file/load.ts'
import { vmapipe } from './cli/cli.ts'
import { tmpDir } from './support/tmp.ts'

const ROOT = join(import.meta.dirname, '..')
/** The code of the example in a page, which a comment before it names. */
function example(page: string, name: string): string {
  const text = readFileSync(join(ROOT, page), 'utf8')
  return new RegExp(`<!-- example: ${name} -->\\s*\`\`\`ts\\n(.*?)\`\`\``, 's').exec(text)![1]
}

for (const page of ['README.md', 'pipelines/README.md', 'src/live/README.md']) {
  test(`the library example of ${page} runs as it stands`, { timeout: 120_000 }, (t) => {
    const dir = tmpDir(t)
    const modules = join(dir, 'node_modules/vmapipe')
    mkdirSync(modules, { recursive: true })
    writeFileSync(join(modules, 'package.json'), '{"name":"vmapipe","type":"module","exports":"./index.js"}')
    writeFileSync(join(modules, 'index.js'), `export * from '${pathToFileURL(join(ROOT, 'src/index.ts'))}'\n`)
    writeFileSync(join(dir, 'example.mts'), example(page, 'library'))
    const { status, stderr } = spawnSync(process.execPath, ['example.mts'], { cwd: dir, encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  })
}

test('the job and the config of the README are good ones', { timeout: 120_000 }, async (t) => {
  const dir = tmpDir(t)
  const [job, config] = [...readFileSync(join(ROOT, 'README.md'), 'utf8').matchAll(/```yaml\n(.*?)```/gs)].map(
    ([, text]) => text,
  )
  assert.equal(readJob('/etc/vmapipe/jobs/nightly.yaml', job).name, 'nightly')
  writeFileSync(join(dir, 'my-backup.yaml'), config)
  const { code, stdout, stderr } = await vmapipe(['run', '--check', 'my-backup.yaml', '--set', 'DISK=x'], { cwd: dir })
  assert.equal(code, 0, stderr)
  assert.match(stdout.toString(), /good: cluster-source → rate-limit → zero-elider/)
})

test('the README is for somebody who has five minutes, and every page that it names is there', () => {
  const pages = ['README.md', 'pipelines/README.md', ...globSync('src/**/*.md', { cwd: ROOT })]
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8')
  assert.ok(text.split('\n').length <= 200)
  for (const page of pages) {
    for (const [, target] of readFileSync(join(ROOT, page), 'utf8').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      assert.ok(existsSync(join(ROOT, dirname(page), target)), `${page} names ${target}`)
    }
  }
})
