import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { writeGuest } from './cli/guest.ts'
import { tmpDir } from './support/tmp.ts'

const ROOT = join(import.meta.dirname, '..')
const readme = join(ROOT, 'README.md')
const text = existsSync(readme) ? readFileSync(readme, 'utf8') : ''

/** The code of an example, which a comment before it names. */
function example(name: string): string | undefined {
  return new RegExp(`<!-- example: ${name} -->\\s*\`\`\`ts\\n(.*?)\`\`\``, 's').exec(text)?.[1]
}

const library = example('library')

test('the library example of the README runs as it stands', {
  timeout: 60_000,
  skip: library === undefined && 'the README has no library example',
}, (t) => {
  const dir = tmpDir(t)
  // What the example backs up: disk.raw and qemu-server.conf.
  writeGuest(dir)
  const modules = join(dir, 'node_modules/vmapipe')
  mkdirSync(modules, { recursive: true })
  writeFileSync(join(modules, 'package.json'), '{"name":"vmapipe","type":"module","exports":"./index.js"}')
  writeFileSync(join(modules, 'index.js'), `export * from '${pathToFileURL(join(ROOT, 'src/index.ts'))}'\n`)
  writeFileSync(join(dir, 'example.mts'), library!)
  const { status, stderr } = spawnSync(process.execPath, ['example.mts'], { cwd: dir, encoding: 'utf8' })
  assert.equal(status, 0, stderr)
})
