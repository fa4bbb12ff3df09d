/** Ends all that a program has started if we are killed, also what its shell began at that moment. */

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'

interface FamilyGuard {
  /** The environment for the program, with a mark that all that it starts inherits. */
  env: NodeJS.ProcessEnv
  /** To be called when the program has ended by itself. What it has left running in the background goes on. */
  release(): void
  /** Ends all that the program has started, whichever process is its parent by now. For a program that was ended by a signal. */
  end(): void
}

/**
 * A process that waits for our end, and then ends all that have the mark in their environment. When we are killed, our pipes
 * close before the kernel sends the parent-death signal. A shell whose pipe broke may have begun its next command by then, which
 * gets no signal. A shell that we end may begin one just then, too.
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

/** Does nothing on systems other than Linux, which do not tell the environment of a process. */
export function guardFamily(): FamilyGuard {
  const mark = randomUUID()
  const env = { ...process.env, VMAPIPE_FAMILY: mark }
  if (process.platform !== 'linux') return { env, release: () => {}, end: () => {} }
  const watch = spawn('/bin/sh', ['-c', WATCH, `VMAPIPE_FAMILY=${mark}`], { stdio: ['pipe', 'ignore', 'ignore'] })
  watch.once('error', () => {})
  watch.stdin.once('error', () => {})
  watch.unref()
  // Node's pipes have `unref` as sockets do: this one must not keep the process running.
  ;(watch.stdin as unknown as { unref?: () => void }).unref?.()
  return { env, release: () => void watch.kill('SIGKILL'), end: () => void watch.stdin.end() }
}
