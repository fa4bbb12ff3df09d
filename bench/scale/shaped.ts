/** A process within a network that is slow: by netem in a network namespace, or else through a process between its two ends. */

import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { isInstalled } from '../measure.ts'

/** What `network.ts` is told, as JSON. */
export interface NetworkTask {
  job: 'transfers' | 'guest'
  folder: string
  runs: number
  /** Bytes of the image. */
  size: number
  /** Bytes a second that the network carries. */
  rate: number
  /** The program and its first argument. */
  launcher: string[]
}

/** The same, and whether the process itself makes the network slow, by another one between the two ends. */
export interface RelayedTask extends NetworkTask {
  relay: boolean
}

export function hasSsh(): boolean {
  return ['ssh', 'sshd', 'ssh-keygen'].every(isInstalled)
}

/** Runs `network.ts`, and returns what it prints and how its network is made slow. */
export function inNetwork<T>(task: NetworkTask): { told: T; how: string } {
  const shape = shapeOf(task.rate)
  const shaped = spawnSync('unshare', ['-n', 'sh', '-c', shape], { stdio: 'ignore' }).status === 0
  const relayed: RelayedTask = { ...task, relay: !shaped }
  const argv = [process.execPath, join(import.meta.dirname, 'network.ts'), JSON.stringify(relayed)]
  const within = shaped ? ['unshare', '-n', 'sh', '-c', `${shape} && exec "$@"`, 'sh', ...argv] : argv
  const told = execFileSync(within[0], within.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  const how = shaped
    ? 'made so by netem in a network namespace of its own'
    : 'made so by a process between the two ends, as this kernel has no netem or no namespaces'
  return { told: JSON.parse(told), how }
}

/** By tc(8): each way takes half of a round trip of 20 ms. */
function shapeOf(rate: number): string {
  return `ip link set lo up && tc qdisc add dev lo root netem rate ${rate * 8}bit delay 10ms limit 100000`
}
