/** A backup over a network of 1 Gbit/s and 20 ms, against `dd | ssh cat`, which sends the image as it is. */

import { median, pairRatio } from '../statistics.ts'
import { type Goal, type Settings, type Table, vmapipe } from '../topic.ts'
import { hasSsh, inNetwork, type NetworkTask } from './shaped.ts'

const RATE = 125_000_000

export interface Transfers {
  ours: number[]
  compressed: number[]
  theirs: number[]
}

export async function slowNetwork({
  folder,
  runs,
  quick,
}: Settings): Promise<{ intro: string[]; tables: Table[]; goals: Goal[] }> {
  if (!hasSsh())
    return { intro: ['Over a slow network: not measured, as ssh or sshd is not installed.'], tables: [], goals: [] }
  const task: NetworkTask = {
    job: 'transfers',
    folder,
    runs: Math.min(runs, 3),
    size: (quick ? 64 : 512) * 2 ** 20,
    rate: RATE,
    launcher: vmapipe().slice(0, 2),
  }
  const { told, how } = inNetwork<Transfers>(task)
  const { ours, compressed, theirs } = told
  const value = pairRatio(ours, theirs)
  return {
    intro: [
      `Over a network of 1 Gbit/s with a round trip of 20 ms, ${how}: the mixed image of ${task.size / 2 ** 20} MiB to ssh:// on this machine.`,
    ],
    tables: [
      {
        head: ['over a slow network', 'wall s', 'runs'],
        rows: Object.entries({
          'vmapipe backup to ssh://…/x.vma': ours,
          'vmapipe backup to ssh://…/x.vma.zst': compressed,
          'dd bs=4M | ssh cat': theirs,
        }).map(([name, seconds]) => [name, median(seconds).toFixed(2), String(seconds.length)]),
      },
    ],
    goals: [
      {
        job: 'backup to .vma over a slow network, against dd | ssh cat',
        goal: 'no slower',
        measured: `${value.toFixed(2)} times its time`,
        met: value <= 1,
        value,
      },
    ],
  }
}
