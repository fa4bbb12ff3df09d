/**
 * A program that we started, with all that it has started: a shell's children are not ended by what ends the shell.
 */

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'

/** A process and all that it has started, parents first: a shell must not go on because its child has ended. */
export function familyOf(pid: number): number[] {
  const path = `/proc/${pid}/task/${pid}/children`
  let started: string[] = []
  try {
    started = readFileSync(path, 'latin1')
      .split(' ')
      .filter((word) => word !== '')
  } catch {
    // It has ended, or this system does not tell.
  }
  return [pid, ...started.flatMap((child) => familyOf(Number(child)))]
}

export function signalFamily(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal)
    } catch {
      // It has ended by itself.
    }
  }
}

export interface FamilyGuard {
  /** What the program's environment must have besides: all that it starts inherits it. */
  env: NodeJS.ProcessEnv
  /** The program has ended as it should. */
  release(): void
}

/**
 * When we are killed, our pipes close before the kernel's parent-death signal is sent: a shell whose pipe broke may by then have begun its
 * next command, which nobody signals. So a process of its own waits for our end, and ends whatever has the mark in its
 * environment.
 */
const WATCH = `trap "" INT TERM HUP USR1
read -r line
for signal in TERM KILL; do
  for found in $(grep -lsz "^$0\\$" /proc/[0-9]*/environ); do
    pid=\${found#/proc/}
    kill -$signal "\${pid%/environ}"
  done
  sleep 1
done`

/** Only Linux tells the environment of a process. */
export function guardFamily(): FamilyGuard {
  const mark = randomUUID()
  const env = { ...process.env, VMAPIPE_FAMILY: mark }
  if (process.platform !== 'linux') return { env, release: () => {} }
  const watch = spawn('/bin/sh', ['-c', WATCH, `VMAPIPE_FAMILY=${mark}`], { stdio: ['pipe', 'ignore', 'ignore'] })
  watch.once('error', () => {})
  watch.stdin.once('error', () => {})
  watch.unref()
  // A pipe of Node's, which may be kept from holding this process as sockets are.
  ;(watch.stdin as unknown as { unref?: () => void }).unref?.()
  return { env, release: () => watch.kill('SIGKILL') }
}
