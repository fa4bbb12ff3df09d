/** Guests that run on this host, by the command lines of their processes: QEMUs that libvirt does not know, and disk servers of ours. */

import { readdir, readFile, readlink } from 'node:fs/promises'
import { basename, resolve } from 'node:path'

/** A guest that runs. */
export interface RunningGuest {
  pid: number
  /** Its name in QEMU, or the path of its control socket. */
  name: string
  kind: 'qemu' | 'serve'
  /** Its monitors, or its control socket. */
  sockets: string[]
  /** What makes it the same guest on another host, if it has one. */
  uuid: string | null
}

/** Processes that may not be looked at are left out. */
export async function runningGuests(): Promise<RunningGuest[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const all = await Promise.all(pids.map(guestOf))
  return all.filter((guest) => guest !== null).sort((a, b) => a.pid - b.pid)
}

async function guestOf(pid: number): Promise<RunningGuest | null> {
  try {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').slice(0, -1)
    const folder = await readlink(`/proc/${pid}/cwd`).catch(() => '/')
    return guestOfCommand(pid, words, folder)
  } catch {
    return null // It has ended.
  }
}

/** The guest of a command line; null if it is none. Relative paths count from `folder`. */
export function guestOfCommand(pid: number, words: readonly string[], folder: string): RunningGuest | null {
  if (words.length === 0) return null
  const at = (path: string) => resolve(folder, path)
  if (/^qemu-(system-|kvm)|^kvm$/.test(basename(words[0]))) {
    const name = argumentOf(words, '-name') ?? ''
    const plain = /(?:^|,)guest=([^,]*)/.exec(name)?.[1] ?? name.split(',')[0]
    return {
      pid,
      kind: 'qemu',
      name: plain || `QEMU ${pid}`,
      sockets: monitorsOf(words).map(at),
      uuid: argumentOf(words, '-uuid') ?? null,
    }
  }
  const serve = words.findIndex((word, index) => word === 'serve' && /vmapipe(\.js)?$/.test(words[index - 1]))
  if (serve === -1) return null
  const control = argumentOf(words, '--control')
  return control === undefined ? null : { pid, kind: 'serve', name: at(control), sockets: [at(control)], uuid: null }
}

/** Paths of `-qmp unix:PATH,…` and of `-chardev socket,path=PATH`. */
function monitorsOf(words: readonly string[]): string[] {
  return words.flatMap((word, index) => {
    if (words[index - 1] === '-qmp' || words[index - 1] === '-monitor') return /^unix:([^,]+)/.exec(word)?.[1] ?? []
    if (words[index - 1] === '-chardev' && word.startsWith('socket,')) return /,path=([^,]+)/.exec(word)?.[1] ?? []
    return []
  })
}

function argumentOf(words: readonly string[], flag: string): string | undefined {
  const at = words.indexOf(flag)
  if (at !== -1) return words[at + 1]
  return words.find((word) => word.startsWith(`${flag}=`))?.slice(flag.length + 1)
}
