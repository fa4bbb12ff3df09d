/** What goes wrong while a busy guest is backed up, whichever way the backup goes; and how long the guest did not write. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext } from 'node:test'
import { needsGuest } from '../../support/guest/machine.ts'
import { QEMU_BUILDS } from '../../support/qemu-builds.ts'
import { SSH_HOST, startSshd } from '../../support/sshd.ts'
import { lacking } from '../../support/tools.ts'
import { type BusyGuest, longestPause, startBackup, startBusyGuest } from './busy-guest.ts'

/** A guest under TCG on a busy machine does not write for this long by itself at times, in milliseconds. */
export const BREATH = 3000

export const MAX_STALL = 2000

/** A suite for each QEMU, with a guest that its tests share. Both run at once: most of a fault's time is waiting. */
export function describeBusyGuests(name: string, tests: (busy: () => BusyGuest) => void): void {
  describe(name, { concurrency: QEMU_BUILDS.length }, () => {
    for (const build of QEMU_BUILDS) {
      describe(`of ${build.name}`, { concurrency: 1, ...needsGuest(build) }, () => {
        let busy: BusyGuest
        const hooks: (() => void)[] = []
        before(async () => {
          busy = await startBusyGuest({ after: (hook) => hooks.push(hook) }, build)
        })
        after(() => {
          for (const hook of hooks.reverse()) hook()
        })
        tests(() => busy)
      })
    }
  })
}

export interface Fault {
  name: string
  /** Makes a backup of the guest in this mode fail, looks at what it says, and returns the longest pause in milliseconds. */
  strike(t: TestContext, busy: BusyGuest, mode: 'guarded' | 'push'): Promise<number>
  /** Milliseconds that the guest does not write at most. */
  longest: number
}

export const FAULTS: readonly Fault[] = [
  { name: 'the user interrupts the backup', strike: interrupt, longest: BREATH },
  { name: 'the target ends in the middle', strike: targetEnds, longest: BREATH },
  { name: 'the target takes nothing', strike: targetHangs, longest: MAX_STALL + BREATH },
  { name: 'the disk of the archive is full', strike: targetFull, longest: BREATH },
  { name: 'ssh is cut', strike: sshCut, longest: BREATH },
]

async function interrupt(t: TestContext, busy: BusyGuest, mode: string): Promise<number> {
  const archive = join(busy.dir, 'interrupted.vma')
  const { child, ended } = await startBackup(t, busy, ['--mode', mode, '-o', archive])
  child.kill('SIGINT')
  const pause = await longestPause(busy, ended)
  assert.equal((await ended).code, 130)
  assert.equal(existsSync(archive), false)
  return pause
}

function targetEnds(t: TestContext, busy: BusyGuest, mode: string): Promise<number> {
  const args = ['--mode', mode, '-o', 'exec:head -c 3000000 >/dev/null']
  return failing(t, busy, args, /vmapipe: .*(EPIPE|ended|reads no more|broken pipe)/i)
}

async function targetHangs(t: TestContext, busy: BusyGuest, mode: string): Promise<number> {
  const stall = ['--buffer', '16MiB', '--max-stall', `${MAX_STALL}ms`, '--bwlimit', '1GiB/s']
  const why = /a guest's write has waited \d+ ms for the archive, 2000 are allowed: the backup was given up/
  const pause = await failing(t, busy, ['--mode', mode, '-o', 'exec:exec sleep 100', ...stall], why)
  assert.ok(pause > MAX_STALL / 2, 'a write waited')
  return pause
}

async function targetFull(t: TestContext, busy: BusyGuest, mode: string): Promise<number> {
  const small = join(busy.dir, `small-${mode}`)
  mkdirSync(small)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', small]).status !== 0) {
    lacking(t, 'needs the right to mount a tmpfs')
    return 0
  }
  t.after(() => spawnSync('umount', ['--lazy', small]))
  return failing(t, busy, ['--mode', mode, '-o', join(small, 'x.vma')], /no space left on device/)
}

async function sshCut(t: TestContext, busy: BusyGuest, mode: string): Promise<number> {
  const sshd = await startSshd(t)
  const args = ['--mode', mode, '-o', `ssh://${SSH_HOST}/~/x.vma`]
  const { ended } = await startBackup(t, busy, args, { env: { PATH: sshd.path } })
  sshd.cut()
  const pause = await longestPause(busy, ended)
  const { code, log } = await ended
  assert.equal(code, 1, log())
  assert.match(log(), /vmapipe: /)
  return pause
}

async function failing(t: TestContext, busy: BusyGuest, args: readonly string[], why: RegExp): Promise<number> {
  const { ended } = await startBackup(t, busy, args)
  const pause = await longestPause(busy, ended)
  const { code, log } = await ended
  assert.equal(code, 1, log())
  assert.match(log(), why)
  return pause
}
