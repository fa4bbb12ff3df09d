import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { vmapipe } from './cli.ts'

const HUNG = join(import.meta.dirname, '../support/hung-calls.mjs')

test('a backup ends well although the disk of a branch that is not required hangs in a system call', {
  timeout: 60_000,
  ...needs('mkfifo'),
}, async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(8 << 20, 'some data '))
  const branch = (name: string, to: string) =>
    `{ name: ${name}, required: ${name === 'good'}, stages: [sink: { to: '${to}' }] }`
  writeFileSync(
    join(dir, 'two.yaml'),
    `stages:
  - cluster-source: { drives: { drive-scsi0: disk.raw } }
  - vma-framer
  - tee: { give-up-after: 1, branches: [${branch('good', 'a.vma')}, ${branch('hung', '/dev/null')}] }
`,
  )
  const fifo = join(dir, 'never')
  execFileSync('mkfifo', [fifo])
  const env = { NODE_OPTIONS: `--import ${HUNG}`, HUNG_CALLS: 'write,writev', HUNG_FIFO: fifo, HUNG_NAME: '/null' }
  const { code, stderr } = await vmapipe(['run', 'two.yaml', '--progress', 'json'], { cwd: dir, env })
  assert.equal(code, 0, stderr)
  assert.ok(readdirSync(dir).includes('never.waits'), 'it hung')
  assert.ok(readdirSync(dir).includes('a.vma'))
  const records = stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.match(records.find(({ level }) => level === 'warning').text, /branch 'hung' took nothing for 1 seconds/)
  const ends = records.filter(({ branch }) => branch !== undefined)
  assert.deepEqual(
    ends.map(({ branch, required, complete }) => [branch, required, complete]),
    [
      ['good', true, true],
      ['hung', false, false],
    ],
  )
  assert.equal(records.at(-1).type, 'end')
})
