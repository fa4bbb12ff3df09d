/** The observer sees what it is there for: a guest in two processes, and too many of them. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../../storage/archive/processes.ts'
import { tmpDir } from '../../support/tmp.ts'
import { Observer } from './observer.ts'

function observed(t: TestContext, most: number) {
  const dir = realpathSync(tmpDir(t))
  const place = join(dir, 'place')
  const observer = new Observer({ dir, place, most, longest: 500 })
  t.after(() => observer.close())
  return {
    observer,
    /** Something that looks as a backup does. */
    backUp(host: string, guest: string) {
      mkdirSync(join(place, guest), { recursive: true })
      const script = `exec 3> "$1/$2/$3.partial"; exec -a backup-worker.ts sleep 60`
      const env = { ...process.env, VMAPIPE_STATE: join(dir, host, 'state') }
      const child = spawn('bash', ['-c', script, 'bash', place, guest, host], { env, stdio: 'ignore' })
      t.after(() => child.kill('SIGKILL'))
    },
  }
}

test('a guest that is backed up on two hosts', async (t) => {
  const { observer, backUp } = observed(t, 9)
  backUp('h1', 'web')
  backUp('h2', 'db')
  await until(() => observer.now.length === 2, 'both are seen')
  assert.deepEqual(observer.violations, [])
  backUp('h2', 'web')
  await until(() => observer.violations.length > 0, 'it is told')
  assert.match(observer.violations[0], /the guest web is backed up by 2 processes: .*web on h1/)
})

test('more backups than the storage allows, but not those of hosts that are out of reach', async (t) => {
  const { observer, backUp } = observed(t, 1)
  observer.outOfReach.add('h2')
  backUp('h1', 'web')
  backUp('h2', 'db')
  await until(() => observer.now.length === 2, 'both are seen')
  await sleep(800)
  assert.deepEqual(observer.violations, [])
  observer.outOfReach.clear()
  await until(() => observer.violations.length > 0, 'it is told')
  assert.match(observer.violations[0], /2 backups at once for more than a heartbeat/)
})
