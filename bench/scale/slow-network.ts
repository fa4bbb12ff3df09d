/** A backup over a network of 1 Gbit/s and 20 ms, against `dd | ssh cat`, which sends the image as it is. */

import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { isInstalled } from '../measure.ts'
import { median, pairRatio } from '../statistics.ts'
import { type Goal, type Settings, type Table, vmapipe } from '../topic.ts'

/** By tc(8): each way takes half of the round trip. */
const SHAPED = 'ip link set lo up && tc qdisc add dev lo root netem rate 1gbit delay 10ms limit 100000'

export interface Transfers {
  ours: number[]
  compressed: number[]
  theirs: number[]
}

/** What `network.ts` is told, as JSON. */
export interface NetworkTask {
  folder: string
  runs: number
  /** Bytes of the image. */
  size: number
  /** Makes the network slow by a process between the two ends. */
  relay: boolean
  /** The program and its first argument. */
  launcher: string[]
}

export async function slowNetwork({
  folder,
  runs,
  quick,
}: Settings): Promise<{ intro: string[]; tables: Table[]; goals: Goal[] }> {
  if (!['ssh', 'sshd', 'ssh-keygen'].every(isInstalled))
    return { intro: ['Over a slow network: not measured, as ssh or sshd is not installed.'], tables: [], goals: [] }
  const shaped = spawnSync('unshare', ['-n', 'sh', '-c', SHAPED], { stdio: 'ignore' }).status === 0
  const task: NetworkTask = {
    folder,
    runs: Math.min(runs, 3),
    size: (quick ? 64 : 512) * 2 ** 20,
    relay: !shaped,
    launcher: vmapipe().slice(0, 2),
  }
  const argv = [process.execPath, join(import.meta.dirname, 'network.ts'), JSON.stringify(task)]
  const within = shaped ? ['unshare', '-n', 'sh', '-c', `${SHAPED} && exec "$@"`, 'sh', ...argv] : argv
  const told = execFileSync(within[0], within.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  const { ours, compressed, theirs }: Transfers = JSON.parse(told)
  const how = shaped
    ? 'made so by netem in a network namespace of its own'
    : 'made so by a process between the two ends, as this kernel has no netem or no namespaces'
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
