/** A guest that writes while its backup goes over ssh to a place that is slower than the copies of what it overwrites. */

import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnTied } from '../../src/system/child.ts'
import { SSH_HOST, type Sshd } from '../../test/support/sshd.ts'
import { makeMixedImage } from '../images.ts'
import { fioRequests, type Load, p99 } from '../live/fio.ts'
import { Serving } from '../live/serving.ts'
import type { NetworkTask } from './shaped.ts'

/** Writes a second of the guest. Each first write to a cluster of 64 KiB has the backup copy all of it. */
export const WRITES = [100, 300, 1000]
/** Seconds before the backup, which count, and of the backup. */
const ALONE = 4
const DURING = 20
const BLOCK = 4096

export interface GuestWrites {
  wanted: number
  /** Writes a second that were done. */
  before: number
  during: number
  /** Milliseconds: 99 of 100 writes take at most so long. */
  p99Before: number
  p99During: number
  longest: number
  /** Bytes a second that came to the place. */
  arrived: number
}

export async function guestWrites({ size, launcher }: NetworkTask, { home }: Sshd): Promise<GuestWrites[]> {
  // A guest's disk is on a filesystem and, here, all in its cache.
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-bench-'))
  try {
    const results: GuestWrites[] = []
    for (const wanted of WRITES) {
      const image = join(folder, 'disk.raw')
      rmSync(image, { force: true })
      makeMixedImage(image, size)
      results.push(await measured(wanted, { image, folder, home, launcher }))
      process.stderr.write(`  a guest with ${wanted} writes a second\n`)
    }
    return results
  } finally {
    rmSync(folder, { recursive: true })
  }
}

interface Parts {
  image: string
  folder: string
  home: string
  launcher: string[]
}

async function measured(wanted: number, { image, folder, home, launcher }: Parts): Promise<GuestWrites> {
  const serving = await Serving.start(image, folder)
  const load: Load = { name: `${wanted}`, rw: 'randwrite', bs: '4k', depth: 4, rate: wanted * BLOCK }
  const writing = fioRequests(serving.target, load, ALONE + DURING + 1, folder)
  await sleep(ALONE * 1000)
  const [program, ...args] = launcher
  const to = `ssh://${SSH_HOST}/~/guest.vma`
  const child = spawnTied(program, [...args, 'backup', '--attach', serving.control, '-o', to, '--quiet'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const ended = once(child, 'exit')
  const since = await pointInTime(serving)
  await sleep(since + DURING * 1000 - Date.now())
  if (child.exitCode !== null) throw new Error('the backup was over before the guest: the image is too small')
  const until = Date.now()
  const arrived = (largestIn(home) / (until - since)) * 1000
  child.kill('SIGTERM')
  const [requests] = await Promise.all([writing, ended])
  await serving.stop()
  const within = (from: number, to: number) => requests.filter(({ at }) => at >= from && at < to)
  const before = within(since - (ALONE - 1) * 1000, since)
  const during = within(since, until)
  return {
    wanted,
    before: before.length / (ALONE - 1),
    during: (during.length / (until - since)) * 1000,
    p99Before: p99(before),
    p99During: p99(during),
    longest: Math.max(...requests.filter(({ at }) => at >= since).map(({ latency }) => latency)),
    arrived,
  }
}

/** Milliseconds since the epoch. */
async function pointInTime(serving: Serving): Promise<number> {
  for (;;) {
    const { backup } = await serving.status()
    if (backup !== null) return backup.since * 1000
    await sleep(10)
  }
}

/** Bytes of the archive so far, which has another name until it is whole. */
function largestIn(folder: string): number {
  return Math.max(0, ...readdirSync(folder).map((name) => statSync(join(folder, name)).size))
}
