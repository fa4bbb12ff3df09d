/** vmapipe is killed before one of its commands to QEMU, whichever: both parents that the next backup may have are right. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { deserialize } from 'node:v8'
import { footprintOf, namesIn } from '../../../../src/live/qemu/attachment/footprint.ts'
import { needsQemu, QEMU_BUILDS } from '../../../support/qemu-builds.ts'
import { type Backup, TrackedMachine } from './tracked-machine.ts'

const timeout = 180_000

/** Kills at about so many places, which are all over a backup. */
const KILLS = 9

const PROGRAM = join(import.meta.dirname, 'killed-backup.ts')

for (const build of QEMU_BUILDS) {
  describe(`a killed backup of ${build.name}`, { timeout, ...needsQemu(build, 'qemu-system-x86_64') }, () => {
    test('leaves bitmaps that are right for every parent', { timeout }, async (t) => {
      const machine = await TrackedMachine.start(t, build)
      let full = await machine.backup()
      const commands = Number((await killed(machine, full, 1e9)).said)
      assert.ok(commands > 30, `a backup has ${commands} commands`)
      full = await machine.backup({ since: await published(machine, full) })
      let atEnd = 0
      for (let kill = 0; kill < KILLS; kill++) {
        await machine.write(kill % 2, 10 + kill)
        // The last of them are those that remove bitmaps, when the archive is there.
        const at = kill < KILLS - 4 ? Math.floor(((kill + 0.5) * commands) / (KILLS - 4)) : commands - (KILLS - kill)
        const drives = machine.truth.map((drive) => Buffer.from(drive))
        await killed(machine, full, at)
        await machine.write((kill + 1) % 2, 30 + kill)
        const made = existsSync(join(machine.dir, 'published')) ? { ...(await published(machine, full)), drives } : null
        if (made !== null) {
          atEnd++
          machine.check(made)
          assert.deepEqual(
            (await machine.backup({ since: made })).reasons,
            {},
            `after command ${at}, since the new one`,
          )
        }
        // In the target's folder the new archive is the parent. Of one that was killed before, the old one is.
        const again = await machine.backup({ since: made ?? full })
        if (made === null) assert.deepEqual(again.reasons, {}, `after command ${at}`)
        assert.deepEqual(namesIn(await footprintOf(machine.monitor)), [])
        assert.deepEqual(await machine.kinds('node0'), ['end', 'since'])
        full = again
      }
      assert.ok(atEnd > 0)
    })
  })
}

/** Backs up until before the command. */
async function killed({ qmp, dir }: TrackedMachine, { uuid }: Backup, at: number): Promise<{ said: string }> {
  rmSync(join(dir, 'published'), { force: true })
  const args = [PROGRAM, qmp, dir, Buffer.from(uuid).toString('hex'), String(at)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (data) => {
    said += data
  })
  await once(child, 'close')
  return { said }
}

async function published({ dir }: TrackedMachine, parent: Backup): Promise<Backup> {
  return { ...deserialize(readFileSync(join(dir, 'published'))), parent, drives: [] }
}
