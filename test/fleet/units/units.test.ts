import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'

const UNITS = ['vmapipe-planner.service', 'vmapipe-agent.service']
const units = join(import.meta.dirname, '../../../src/fleet/units')
const limits = { timeout: 60_000, ...needs('systemd-analyze') }

for (const name of UNITS) {
  test(`systemd has nothing to say against ${name}`, limits, (t) => {
    const file = join(tmpDir(t), name)
    copyFileSync(join(units, name), file)
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8' })
    assert.deepEqual([status, stderr.split('\n').filter((line) => line.includes('vmapipe'))], [0, []], stderr)
  })
}

test('the service of the planner may do little', limits, () => {
  // In tenths of the exposure that systemd measures; a service without any of it has 96.
  const args = ['security', '--no-pager', '--offline=yes', '--threshold=20', join(units, UNITS[0])]
  const { status, stdout } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
  assert.equal(status, 0, stdout.split('\n').slice(-3).join('\n'))
})
