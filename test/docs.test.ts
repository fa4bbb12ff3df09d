import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import * as api from '../src/index.ts'
import { tmpDir } from './support/tmp.ts'

const ROOT = join(import.meta.dirname, '..')
/** What is handed on from another package has its pages there. */
const OTHERS = ['z']

test('npm run docs makes a page for everything that can be imported', { timeout: 300_000 }, (t) => {
  const out = join(tmpDir(t), 'docs')
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  assert.equal(scripts.docs, 'typedoc')
  const typedoc = join(ROOT, 'node_modules/typedoc/bin/typedoc')
  const { status, stdout, stderr } = spawnSync(process.execPath, [typedoc, '--out', out], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  assert.equal(status, 0, stdout + stderr)
  assert.doesNotMatch(stdout + stderr, /\[(warning|error)\]/)
  const pages = readdirSync(out, { recursive: true, encoding: 'utf8' }).map((file) => file.split('/').at(-1))
  for (const name of Object.keys(api)) {
    if (!OTHERS.includes(name)) assert.ok(pages.includes(`${name}.html`), `no page for ${name}`)
  }
  for (const type of ['BackupOptions', 'StageDefinition']) assert.ok(pages.includes(`${type}.html`), type)
})
