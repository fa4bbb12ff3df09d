/** Runs copy.ts, and watches what it leaves behind. */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const COPY = fileURLToPath(new URL('copy.ts', import.meta.url))

export interface Copied {
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
}

export function startCopy(
  from: string,
  to: string,
  { force = false, ...options }: SpawnOptions & { force?: boolean } = {},
) {
  return spawn(process.execPath, [COPY, from, to, ...(force ? ['force'] : [])], {
    stdio: ['ignore', 'ignore', 'pipe'],
    ...options,
  })
}

/** Waits for its end. */
export async function outcome(child: ChildProcess): Promise<Copied> {
  let stderr = ''
  child.stderr!.on('data', (data) => {
    stderr += data
  })
  return new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal, stderr })))
}

/** A shell command whose `$COPY FROM TO` is copy.ts; for pipes, redirections and limits. */
export function shellCopy(command: string): Promise<Copied> {
  const env = { ...process.env, COPY: `${process.execPath} ${COPY}` }
  return outcome(spawn('/bin/sh', ['-c', command], { env, stdio: ['ignore', 'ignore', 'pipe'] }))
}

/** Waits until `condition` holds; says what it waited for when it does not come. */
export async function until(condition: () => boolean, what: string, seconds = 300): Promise<void> {
  const end = Date.now() + seconds * 1000
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited ${seconds} s for this: ${what}`)
    await sleep(20)
  }
}

/** The one temporary file in the folder, once it has this many bytes. */
export async function partialIn(folder: string, bytes = 1): Promise<string> {
  const found = () => readdirSync(folder).find((name) => name.endsWith('.partial'))
  await until(() => {
    const name = found()
    return name !== undefined && (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0) >= bytes
  }, `a temporary file of ${bytes} bytes in ${folder}`)
  return found()!
}

/** Processes whose command line has this in it, but for this one. */
export function processesWith(text: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => commandLine(pid).includes(text))
    .map(Number)
}

/** Processes that stand in this folder. */
export function processesIn(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .filter((pid) => workingFolder(pid) === folder)
    .map(Number)
}

function workingFolder(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return ''
  }
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return ''
  }
}
