/** What a guest feels that writes while its backup goes to a place at 20 MB/s. */

import { MAX_STALL_MS } from '../live/serving.ts'
import { isInstalled } from '../measure.ts'
import { type Goal, type Settings, type Table, vmapipe } from '../topic.ts'
import type { GuestWrites } from './guest-writes.ts'
import { hasSsh, inNetwork } from './shaped.ts'

const RATE = 20_000_000
/** Writes a second of a guest whose copies the place can take, although each write is to another cluster. */
const MODEST = 100
const KEPT = 0.95
const FULL = 0.85
const INTRO =
  'To a place at 20 MB/s: a guest writes 4 KiB at random, each time to another cluster, first without and then during a backup of its ' +
  'disk of 1 GiB to ssh:// on this machine.'

export async function slowPlace({
  folder,
  quick,
}: Settings): Promise<{ intro: string[]; tables: Table[]; goals: Goal[] }> {
  // The image must last for longer than is measured.
  if (quick || !hasSsh() || !isInstalled('fio')) return { intro: [], tables: [], goals: [] }
  const { told } = inNetwork<GuestWrites[]>({
    job: 'guest',
    folder,
    runs: 1,
    size: 2 ** 30,
    rate: RATE,
    launcher: vmapipe().slice(0, 2),
  })
  return { intro: [INTRO], tables: [table(told)], goals: goals(told) }
}

function table(told: readonly GuestWrites[]): Table {
  return {
    head: [
      'guest of serve, backup to ssh:// at 20 MB/s',
      'writes a second before',
      'during',
      'p99 ms before',
      'during',
      'longest ms',
      'MB/s at the place',
    ],
    rows: told.map(({ wanted, before, during, p99Before, p99During, longest, arrived }) => [
      `${wanted} writes of 4 KiB a second wanted`,
      before.toFixed(0),
      during.toFixed(0),
      p99Before.toFixed(1),
      p99During.toFixed(1),
      longest.toFixed(0),
      (arrived / 1e6).toFixed(1),
    ]),
  }
}

function goals(told: readonly GuestWrites[]): Goal[] {
  const modest = told.find(({ wanted }) => wanted === MODEST)!
  const kept = modest.during / modest.before
  const longest = Math.max(...told.map((one) => one.longest))
  const arrived = Math.min(...told.map((one) => one.arrived)) / RATE
  return [
    {
      job: `a guest with ${MODEST} writes a second, during a backup to a place at 20 MB/s`,
      goal: 'keeps 0.95 of its writes',
      measured: kept.toFixed(2),
      met: kept >= KEPT,
    },
    {
      job: 'guests with up to 1000 writes a second during a backup to a place at 20 MB/s: the longest write',
      goal: 'never beyond --max-stall, 10 s',
      measured: `${longest.toFixed(0)} ms`,
      met: longest <= MAX_STALL_MS,
    },
    {
      job: 'a place at 20 MB/s, while a guest writes',
      goal: 'gets 0.85 of that at least',
      measured: arrived.toFixed(2),
      met: arrived >= FULL,
    },
  ]
}
