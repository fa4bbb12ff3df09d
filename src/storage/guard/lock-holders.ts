/** Finds the processes that hold locks on an image, by proc(5). The kernel's list of locks names no process for locks of open files. */

import { readdirSync, readFileSync, type Stats } from 'node:fs'
import { basename } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'

/**
 * Milliseconds of the processor for the search: a busy host has thousands of processes, and the error is clear without their names. Not by
 * the clock: others use the machine too, and then the name would be missing just where many programs may have the image.
 */
const MOST_MS = 500
const MOST_NAMED = 3

/** Parses a line of /proc/locks or of `fdinfo` about a lock of an open file: the file and the bytes. */
const LOCK = /OFDLCK\s+\S+\s+\S+\s+-?\d+\s+([0-9a-f]+):([0-9a-f]+):(\d+)\s+(\d+)\s+(\d+|EOF)/

/** Whether /proc/locks has such a lock on one of these bytes. For files that we may not open, and without the system calls. */
export function isLockedBySomebody(stats: Stats, bytes: readonly number[]): boolean {
  return linesOf('/proc/locks').some((line) => {
    const lock = lockOf(line, stats)
    return lock !== null && bytes.some((byte) => byte >= lock.from && byte <= lock.to)
  })
}

/** "process 4711 (qemu-system-x86, guest vm1)", or several; "another program" if that cannot be found out. */
export async function holdersOf(stats: Stats): Promise<string> {
  const begun = process.threadCpuUsage()
  const found: string[] = []
  for (const pid of namesIn('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    if (millisecondsSince(begun) > MOST_MS || found.length === MOST_NAMED) break
    if (holds(pid, stats)) found.push(describeProcess(pid))
    await nextTurn()
  }
  return found.join(' and ') || 'another program'
}

/** Of the processor, of this thread. */
function millisecondsSince(begun: NodeJS.CpuUsage): number {
  const { user, system } = process.threadCpuUsage(begun)
  return (user + system) / 1000
}

/** Reads `fdinfo`, which the kernel makes of its own memory. Unlike a look at the file, this cannot hang. */
function holds(pid: string, stats: Stats): boolean {
  const folder = `/proc/${pid}/fdinfo`
  return namesIn(folder).some((fd) => linesOf(`${folder}/${fd}`).some((line) => lockOf(line, stats) !== null))
}

function lockOf(line: string, stats: Stats): { from: number; to: number } | null {
  const [, major, minor, inode, from, to] = LOCK.exec(line) ?? []
  if (Number(inode) !== stats.ino || !isDevice(stats.dev, Number.parseInt(major, 16), Number.parseInt(minor, 16))) {
    return null
  }
  const lock = { from: Number(from), to: to === 'EOF' ? Number.POSITIVE_INFINITY : Number(to) }
  return lock.to >= 100 && lock.from <= 203 ? lock : null
}

/** Whether both are the same device. btrfs has another device in the list of locks than in stat(2); both are then virtual, with major number 0. */
function isDevice(dev: number, major: number, minor: number): boolean {
  const [ownMajor, ownMinor] = splitDevice(dev)
  return (major === ownMajor && minor === ownMinor) || (major === 0 && ownMajor === 0)
}

/** Splits a device number into major and minor: the reverse of makedev(3). */
export function splitDevice(dev: number): [major: number, minor: number] {
  const number = BigInt(dev)
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n)
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffffff00n)
  return [Number(major), Number(minor)]
}

export function describeProcess(pid: string): string {
  if (Number(pid) === process.pid) return 'this very process'
  const words = linesOf(`/proc/${pid}/cmdline`).join('\n').split('\0')
  const guest = words[words.indexOf('-name') + 1]?.split(',')[0].replace(/^guest=/, '')
  const named = words.includes('-name') && guest ? `, guest ${guest}` : ''
  return `process ${pid} (${programOf(words) ?? linesOf(`/proc/${pid}/comm`)[0] ?? 'gone'}${named})`
}

/** The name of a process: "qemu-system-x86_64", or "vmapipe serve" for a script of ours that Node runs. */
function programOf(words: readonly string[]): string | undefined {
  const script = words.findIndex((word) => /(^|\/)vmapipe(\.js)?$/.test(word))
  if (script >= 0) return ['vmapipe', words[script + 1]].join(' ').trim()
  return words[0] === '' ? undefined : basename(words[0])
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n')
  } catch {
    return []
  }
}
