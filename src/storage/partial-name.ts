/**
 * Temporary names of what is being written: `.NAME.HOST-PID.partial`, beside NAME. Host and process in it tell what a
 * killed run left behind from what another run is writing now.
 */

import { rmSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'

/** Longest name that common filesystems take, in bytes. */
export const NAME_MAX = 255

/** Those of this process, so that a left-over of an earlier process with the same number is not mistaken for one. */
const ours = new Set<string>()

/** The temporary path for `path`, in the same folder. */
export function partialPath(path: string): string {
  return join(dirname(path), partialName(basename(path)))
}

/** `.NAME.HOST-PID.partial`; NAME is cut where the whole would be too long. */
export function partialName(name: string): string {
  return `${leftOverPrefix(name)}${host()}-${process.pid}.partial`
}

/** What the temporary names of all attempts at NAME begin with. */
export function leftOverPrefix(name: string): string {
  const room = NAME_MAX - `..${host()}-4194304.partial`.length
  let cut = name
  while (Buffer.byteLength(cut) > room) cut = cut.slice(0, -1)
  return `.${cut}.`
}

function host(): string {
  return hostname()
    .replace(/[^A-Za-z0-9.-]/g, '_')
    .slice(0, 64)
}

/**
 * From now on `path`, a file or a folder, is known to be in use by this process, and is removed should it end without
 * `unclaim`. False where it is in use already.
 */
export function claim(path: string): boolean {
  if (ours.has(path)) return false
  if (ours.size === 0) process.on('exit', removeOurs)
  ours.add(path)
  return true
}

export function unclaim(path: string): void {
  if (ours.delete(path) && ours.size === 0) process.off('exit', removeOurs)
}

function removeOurs(): void {
  for (const path of ours) rmSync(path, { recursive: true, force: true })
}

/** Removes what dead processes of this host left of earlier attempts at `path`, and names everything else. */
export async function clearLeftOvers(path: string, warn: (message: string) => void): Promise<void> {
  const folder = dirname(path)
  const start = leftOverPrefix(basename(path))
  for (const name of await readdir(folder)) {
    const match = name.startsWith(start) ? /^(.+)-([0-9]+)\.partial$/.exec(name.slice(start.length)) : null
    const left = join(folder, name)
    if (match === null || ours.has(left)) continue
    const [, owner, pid] = match
    if (owner !== host()) {
      warn(`'${left}' is left of a run on ${owner}, or of one that is still going on; remove it if it is not`)
    } else if (isRunning(Number(pid))) {
      warn(`'${left}' is being written by process ${pid}, or was by an earlier one of that number`)
    } else {
      await rm(left, { recursive: true, force: true })
      warn(`removed '${left}', left of a run that did not end well`)
    }
  }
}

/** Another process than this one. */
function isRunning(pid: number): boolean {
  if (pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
