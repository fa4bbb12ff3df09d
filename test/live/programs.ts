/** Other programs that are a served disk's guest: run to their end, with what they say. */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

type Hooks = { after(hook: () => void): void }

export interface Running {
  child: ChildProcess
  /** Its standard output; fails where it does. */
  done: Promise<string>
}

/** Starts it; it is killed with the test. `well`: exit codes of a good end. */
export function start(t: Hooks, command: string, args: readonly string[], well: readonly number[] = [0]): Running {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let out = ''
  let said = ''
  child.stdout.on('data', (text) => {
    out += text
  })
  child.stderr.on('data', (text) => {
    said += text
  })
  const done = once(child, 'close').then(([code, signal]) => {
    assert.ok(well.includes(code), `${command} ended with ${code ?? signal}: ${said}${out.slice(0, 500)}`)
    return out
  })
  // Whoever waits for it sees the failure; a test that has failed before does not wait.
  done.catch(() => {})
  return { child, done }
}

export function run(t: Hooks, command: string, args: readonly string[]): Promise<string> {
  return start(t, command, args).done
}

/** What curl needs to take an archive, the way a user types it. */
export function curl(control: string, path: string, into: string): string[] {
  return ['--silent', '--show-error', '--fail', '--unix-socket', control, '--output', into, `http://guest${path}`]
}

export interface FioFigures {
  requests: number
  perSecond: number
  /** Milliseconds that the slowest request took. */
  slowest: number
}

export interface FioOptions {
  /** Milliseconds; without it fio goes once over its size. */
  runtime?: number
  args?: readonly string[]
}

/** fio as a guest that writes at random; `stop` ends it before its time. */
export function startFio(
  t: Hooks,
  uri: string,
  { runtime, args = [] }: FioOptions,
): { done: Promise<FioFigures>; stop(): Promise<FioFigures> } {
  const timed = runtime === undefined ? [] : ['--time_based', `--runtime=${runtime}ms`]
  const how = [
    '--name=guest',
    '--ioengine=nbd',
    `--uri=${uri}`,
    '--output-format=json',
    '--verify_state_save=0',
    ...timed,
    ...args,
  ]
  // 128: stopped by a signal.
  const { child, done } = start(t, 'fio', how, [0, 128])
  const figures = done.then(figuresOf)
  figures.catch(() => {})
  return {
    done: figures,
    async stop() {
      // One that is still starting would end without a word.
      while (child.exitCode === null && child.signalCode === null && !catchesInterrupt(child.pid!)) await sleep(5)
      child.kill('SIGINT')
      return figures
    },
  }
}

/** Whether the process has a handler for SIGINT (proc(5), SigCgt). */
function catchesInterrupt(pid: number): boolean {
  try {
    const [, caught] = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!
    return (BigInt(`0x${caught}`) & (1n << BigInt(constants.signals.SIGINT - 1))) !== 0n
  } catch {
    return false
  }
}

function figuresOf(out: string): FioFigures {
  const [job] = JSON.parse(out.slice(out.indexOf('{'))).jobs
  assert.equal(job.error, 0, `fio saw error ${job.error}`)
  const { write, read, trim } = job
  return {
    requests: write.total_ios + read.total_ios + trim.total_ios,
    perSecond: write.iops + read.iops,
    slowest: Math.max(write.lat_ns.max, read.lat_ns.max, trim.lat_ns.max) / 1e6,
  }
}
