/**
 * Sixty nights of a host in a minute. Three guests write, are backed up and pruned, each night at its own time; and what can go wrong goes
 * wrong: runs are killed, the disk is full, the target is gone, clocks jump, the host reboots. A model knows what must be there.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { setProtected } from '../../src/catalog/annotations.ts'
import { prune } from '../../src/catalog/prune.ts'
import { asVmapipeError } from '../../src/core/errors.ts'
import { startCli } from '../cli/cli.ts'
import { seed, seeded } from '../support/random.ts'
import { makePlace } from './places.ts'
import { DAY, type Hooks, WorldGuest } from './world.ts'

const NIGHTS = 60
/** So late that no archive of a clock that was ahead is in the future any more: else nothing would be pruned then. */
const LAST = NIGHTS + 8
const FIRST = Date.parse('2026-08-30T01:30:00Z') / 1000
const KEEP = { last: 2, daily: 3, weekly: 2, monthly: 1 }
const FLAGS = ['--keep-last', '2', '--keep-daily', '3', '--keep-weekly', '2', '--keep-monthly', '1']
/** Between two nights each guest has a full archive, every so many. */
const FULL_EVERY = 4

type Trouble =
  | 'backup killed'
  | 'prune killed'
  | 'disk full'
  | 'target gone'
  | 'clock ahead'
  | 'clock behind'
  | 'reboot'
  | 'prune meanwhile'
const TROUBLES: readonly Trouble[] = [
  'backup killed',
  'prune killed',
  'disk full',
  'target gone',
  'clock ahead',
  'clock behind',
  'reboot',
  'prune meanwhile',
]

test(`sixty nights with troubles (VMAPIPE_SEED=${seed})`, { timeout: 1_800_000 }, async (t) => {
  // What came last goes first: a filesystem is unmounted before its folder is removed.
  const hooks: (() => unknown)[] = []
  t.after(async () => {
    for (const hook of hooks.reverse()) await hook()
  })
  const host = await Host.make({ after: (hook) => void hooks.push(hook) }, seeded(seed))
  for (let night = 0; night < NIGHTS; night++) await host.night(night)
  // Each trouble has come, and one night without any makes everything as it should be.
  t.diagnostic(`${[...host.counts].map(([what, count]) => `${what} ${count}`).join(', ')}`)
  assert.ok(host.counts.size >= TROUBLES.length, [...host.counts.keys()].join())
  await host.night(LAST, null)
  for (const guest of host.guests) {
    assert.deepEqual(guest.names(), [...guest.kept(KEEP)].sort())
    assert.deepEqual(guest.rubbish(), [])
    await guest.assertRestorable()
  }
})

class Host {
  readonly guests: WorldGuest[]
  readonly counts = new Map<string, number>()
  readonly #t: Hooks
  readonly #place: string
  readonly #random: () => number
  readonly #isSmall: boolean
  /** What the clock of the host is ahead of the time, in seconds. */
  #skew = 0

  private constructor(t: Hooks, place: string, guests: WorldGuest[], random: () => number, isSmall: boolean) {
    this.#t = t
    this.#place = place
    this.guests = guests
    this.#random = random
    this.#isSmall = isSmall
  }

  static async make(t: Hooks, random: () => number): Promise<Host> {
    const { place, disks } = makePlace(t)
    // A disk of its own can be filled. Without the right to mount, a limit of file sizes does instead.
    const isSmall = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', place]).status === 0
    if (isSmall) t.after(() => spawnSync('umount', ['-l', place]))
    mkdirSync(join(place, 'backups'))
    const into = join(place, 'backups')
    const guests = [
      new WorldGuest(disks, into, 'web', 1),
      new WorldGuest(disks, into, 'db', 2),
      new WorldGuest(disks, into, 'served', 1),
    ]
    await guests[2].boot(t)
    return new Host(t, into, guests, random, isSmall)
  }

  async night(night: number, only?: null): Promise<void> {
    if (only === null) this.#skew = 0
    for (const [index, guest] of this.guests.entries()) {
      const trouble = only === null ? null : this.#trouble(night)
      if (trouble !== null) this.counts.set(trouble, (this.counts.get(trouble) ?? 0) + 1)
      await guest.write(this.#random)
      await this.#protect(guest)
      // Never the same second of two days, so that no clock that jumps by days makes two archives of one time.
      const now = FIRST + night * DAY + index * 600 + night * 7
      try {
        await this.#guestNight(guest, night, now, trouble)
      } catch (error) {
        throw new Error(`night ${night}, ${guest.name}, ${trouble ?? 'no trouble'}: ${asVmapipeError(error).line}`, {
          cause: error,
        })
      }
    }
  }

  /** About every fourth night of a guest has one; each kind comes. */
  #trouble(night: number): Trouble | null {
    if (night < 3 || this.#random() > 0.25) return null
    const missing = TROUBLES.filter((one) => !this.counts.has(one))
    const from = night > NIGHTS / 2 && missing.length > 0 ? missing : TROUBLES
    return from[Math.floor(this.#random() * from.length)]
  }

  /** Now and then an archive is protected, or no longer. */
  async #protect(guest: WorldGuest): Promise<void> {
    const one = guest.known[Math.floor(this.#random() * guest.known.length)]
    if (one === undefined || this.#random() > 0.15) return
    if (!one.isProtected) return guest.protect(one.name)
    await setProtected(join(guest.folder, one.name), false)
    guest.unprotect(one.name)
  }

  async #guestNight(guest: WorldGuest, night: number, now: number, trouble: Trouble | null): Promise<void> {
    if (trouble === 'clock ahead') this.#skew = DAY * (1 + Math.floor(this.#random() * 4))
    else if (trouble === 'clock behind') this.#skew = -DAY * (1 + Math.floor(this.#random() * 2))
    else if (this.#random() < 0.5) this.#skew = 0
    if (trouble === 'reboot') await guest.crash(this.#t)
    const clock = now + this.#skew
    const isFull = night % FULL_EVERY === 0 || guest.known.length === 0
    const before = guest.names()
    const disks = guest.disks()
    const meanwhile = trouble === 'prune meanwhile' ? this.#pruneMeanwhile(guest, clock) : null
    const succeeded = await this.#backup(guest, { night, clock, isFull, trouble })
    await meanwhile
    const hasCome = await guest.learn(disks)
    if (succeeded) assert.ok(hasCome, 'the archive is there')
    guest.known = guest.known.filter(({ name }) => guest.names().includes(name))
    if (!succeeded) {
      // A backup that failed never prunes, and takes nothing away.
      const lost = before.filter((name) => !guest.names().includes(name))
      assert.deepEqual(lost, [])
      await guest.assertRestorable()
      return
    }
    await this.#prune(guest, clock, trouble)
    // All after a trouble, else the new one and one more: each archive is looked at many times in its life.
    const names = guest.names()
    const some = [names[Math.floor(this.#random() * names.length)], guest.known.at(-1)?.name ?? '']
    await guest.assertRestorable(trouble === null ? some : names)
  }

  /** Whether it succeeded. */
  async #backup(
    guest: WorldGuest,
    { night, clock, isFull, trouble }: { night: number; clock: number; isFull: boolean; trouble: Trouble | null },
  ): Promise<boolean> {
    if (trouble === 'backup killed') {
      guest.setClock(clock)
      await this.#killed(this.#backupArgs(guest, night, isFull), guest.clock)
      return false
    }
    if (trouble === 'disk full' && this.#isSmall) {
      const ballast = join(this.#place, 'ballast')
      const { bavail, bsize } = statfsSync(this.#place)
      writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize)))
      // What a killed run has left goes when the next one begins, and may make the room.
      const hadRubbish = guest.rubbish().length > 0
      const failed = await guest.backup(night, clock, isFull).then(
        () => null,
        (error) => asVmapipeError(error).message,
      )
      rmSync(ballast)
      if (failed === null && hadRubbish) return true
      assert.match(String(failed), /no space left/)
      return false
    }
    if (trouble === 'target gone') {
      renameSync(this.#place, `${this.#place}-gone`)
      await assert.rejects(guest.backup(night, clock, isFull), /no such file or directory/)
      renameSync(`${this.#place}-gone`, this.#place)
      return false
    }
    await guest.backup(night, clock, isFull)
    return true
  }

  #backupArgs(guest: WorldGuest, night: number, isFull: boolean): string[] {
    const from =
      guest.serving === null
        ? Object.entries(guest.drives).flatMap(([name, path]) => ['-d', `${name}=${path}`])
        : ['--attach', guest.serving.control]
    const since = isFull ? [] : ['--since', 'auto']
    const to = guest.target(night, isFull)
    return ['backup', ...from, ...since, '--guest', guest.name, '-o', to, '--bwlimit', '2MiB/s']
  }

  /** Starts a command and kills it at any moment, also after its end. */
  async #killed(args: string[], env: Record<string, string>): Promise<void> {
    const child = startCli(args, { env: { ...env, TZ: 'UTC' } })
    const ended = once(child, 'exit')
    await Promise.race([ended, sleep(300 + this.#random() * 1500)])
    child.kill('SIGKILL')
    await ended
  }

  async #pruneMeanwhile(guest: WorldGuest, clock: number): Promise<void> {
    await prune(guest.folder, KEEP, { now: clock * 1000, timeZone: 'UTC' }).catch((error) => {
      assert.match(asVmapipeError(error).message, /is in the future/)
    })
  }

  /** After it, exactly what the model keeps is there. */
  async #prune(guest: WorldGuest, clock: number, trouble: Trouble | null): Promise<void> {
    const kept = guest.kept(KEEP)
    const before = guest.names()
    const newest = Math.max(...guest.known.map(({ ctime }) => ctime))
    if (newest > clock + 300) {
      await assert.rejects(prune(guest.folder, KEEP, { now: clock * 1000, timeZone: 'UTC' }), /is in the future/)
      assert.deepEqual(guest.names(), before)
      return
    }
    if (trouble === 'prune killed') {
      guest.setClock(clock)
      await this.#killed(['prune', guest.folder, ...FLAGS], guest.clock)
      for (const name of before) if (kept.has(name)) assert.ok(guest.names().includes(name), `${name} stays`)
      await guest.assertRestorable()
    }
    await prune(this.#place, KEEP, { guest: guest.name, now: clock * 1000, timeZone: 'UTC' })
    assert.deepEqual(guest.names(), [...kept].sort())
    assert.deepEqual(guest.rubbish(), [], 'nothing that is gone takes room')
    guest.known = guest.known.filter(({ name }) => kept.has(name))
  }
}
