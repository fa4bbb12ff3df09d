import assert from 'node:assert/strict'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { tmpDir } from '../support/tmp.ts'
import { vmapipe } from './cli.ts'

const CONFIG = `
name: two targets
threads: 2
stages:
  - cluster-source: { drives: { drive-scsi0: no-such-disk.raw } }
  - zero-elider
  - vma-framer
  - tee:
      branches:
        - name: disk
          stages:
            - compressor: {level: 5}
            - hash
            - sink: { to: vm.vma.zst }
        - name: nas
          required: false
          stages:
            - exec: { command: age -r age1 }
            - sink: { to: 'ssh://nas/srv/vm.vma.age' }
`

const DRAWING = `two targets, 2 threads: good

cluster-source  drives: {"drive-scsi0":"no-such-disk.raw"}
  │ clusters
zero-elider
  │ clusters
vma-framer
  │ bytes
tee
  ├─ disk
  │      │ bytes
  │    compressor  level: 5
  │      │ bytes
  │    hash
  │      │ bytes
  │    sink  to: vm.vma.zst
  └─ nas (not required)
         │ bytes
       exec  command: age -r age1
         │ bytes
       sink  to: ssh://nas/srv/vm.vma.age
`

test('a dry run draws the pipeline with its branches, and opens nothing', { timeout: 30_000 }, async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'two.yaml'), CONFIG)
  const { code, stdout, stderr } = await vmapipe(['run', '--dry-run', 'two.yaml'], { cwd: dir })
  assert.equal(code, 0, stderr)
  assert.equal(stdout.toString(), DRAWING)
  assert.deepEqual(readdirSync(dir), ['two.yaml'])
})

test('a dry run of a wrong config is an error with its place, also within a branch', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const cases: [string, string, RegExp][] = [
    [
      'level: 5',
      'level: 50',
      /two\.yaml:12:\d+: stages\[3\]\.tee\.branches\[0\]\.stages\[0\]\.compressor\.level: the levels of zstd/,
    ],
    [
      '- exec:',
      '- exce:',
      /two\.yaml:18:\d+: stages\[3\]\.tee\.branches\[1\]\.stages\[0\]: there is no stage 'exce'; did you mean exec/,
    ],
    [
      '- vma-framer',
      '- rate-limit: { rate: 5M }',
      /stages\[3\]\.tee: branch 'disk': compressor: stage 2 takes bytes, tee gives clusters/,
    ],
    ['required: false', 'required: maybe', /branches\[1\]\.required/],
  ]
  for (const [from, to, message] of cases) {
    writeFileSync(join(dir, 'two.yaml'), CONFIG.replace(from, to))
    const { code, stderr } = await vmapipe(['run', '--dry-run', 'two.yaml'], { cwd: dir })
    assert.equal(code, 2)
    assert.match(stderr, message)
  }
})

test('parameters reach the stages of a branch', { timeout: 30_000 }, async (t) => {
  const dir = tmpDir(t)
  const text = CONFIG.replace('level: 5', `level: '\${LEVEL}'`).replace('required: false', `required: \${NEEDED}`)
  writeFileSync(join(dir, 'two.yaml'), text)
  const set = ['--set', 'LEVEL=7', '--set', 'NEEDED=true']
  const { code, stdout, stderr } = await vmapipe(['run', '--dry-run', 'two.yaml', ...set], { cwd: dir })
  assert.equal(code, 0, stderr)
  assert.match(stdout.toString(), /compressor {2}level: 7/)
  assert.match(stdout.toString(), /└─ nas\n/)
})
