/**
 * Watches backups from outside: by the files that their processes have open, whatever planner and agents believe. Two processes that back up
 * one guest, and more of them than a storage allows, are remembered with all that was seen.
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

/** Milliseconds between two looks. */
const LOOK_MS = 100

export interface Seen {
  pid: number
  host: string
  guest: string
}

interface ObserverOptions {
  /** The folder of everything of the fleet: hosts are folders in it. */
  dir: string
  /** The folder that all hosts write to. */
  place: string
  /** Backups at once. */
  most: number
  /** Milliseconds for which there may be more of them. */
  longest: number
}

export class Observer {
  /** In one line each. */
  readonly violations: string[] = []
  /** Each backup that was seen, as `host guest`. */
  readonly seen = new Set<string>()
  /** The most backups that were seen at once. */
  atOnce = 0
  /** Hosts of which the planner cannot know what they do, so that they do not count for the storage. */
  readonly outOfReach = new Set<string>()
  readonly #options: ObserverOptions
  /** The host of each worker by its process id; null for processes that are none. */
  readonly #hosts = new Map<number, string | null>()
  readonly #timer: NodeJS.Timeout
  #overSince: number | null = null
  #now: Seen[] = []

  constructor(options: ObserverOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.look(), LOOK_MS)
  }

  /** The backups of the last look. */
  get now(): readonly Seen[] {
    return this.#now
  }

  close(): void {
    clearInterval(this.#timer)
  }

  look(): void {
    this.#now = this.#backups()
    for (const { host, guest } of this.#now) this.seen.add(`${host} ${guest}`)
    for (const { pid, guest } of this.#now) {
      const others = this.#now.filter((one) => one.guest === guest && one.pid > pid)
      // One may have ended between the looks at the two.
      if (others.length > 0 && this.#guestOf(pid) === guest)
        this.#tell(`the guest ${guest} is backed up by ${others.length + 1} processes`)
    }
    const counted = this.#now.filter(({ host }) => !this.outOfReach.has(host))
    this.atOnce = Math.max(this.atOnce, counted.length)
    if (counted.length <= this.#options.most) this.#overSince = null
    else {
      this.#overSince ??= Date.now()
      if (Date.now() - this.#overSince > this.#options.longest)
        this.#tell(`${counted.length} backups at once for more than a heartbeat`)
    }
  }

  #tell(what: string): void {
    const all = this.#now.map(({ pid, host, guest }) => `${guest} on ${host} by ${pid}`)
    this.violations.push(`${new Date().toISOString()} ${what}: ${all.join(', ')}`)
  }

  #backups(): Seen[] {
    const pids = readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .map(Number)
    const there = new Set(pids)
    for (const pid of this.#hosts.keys()) if (!there.has(pid)) this.#hosts.delete(pid)
    return pids.flatMap((pid) => {
      const host = this.#hostOf(pid)
      const guest = host === null ? null : this.#guestOf(pid)
      return guest === null ? [] : [{ pid, host: host!, guest }]
    })
  }

  /** A process begins as a copy of its parent, and becomes a worker a moment later: only what is one stays known. */
  #hostOf(pid: number): string | null {
    const known = this.#hosts.get(pid)
    if (known !== undefined) return known
    const words = text(`/proc/${pid}/cmdline`)
    if (!words.includes('backup-worker')) return null
    const variable = text(`/proc/${pid}/environ`)
      .split('\0')
      .find((one) => one.startsWith('VMAPIPE_STATE='))
    const folder = variable?.slice('VMAPIPE_STATE='.length) ?? ''
    const host = folder.startsWith(`${this.#options.dir}/`)
      ? folder.slice(this.#options.dir.length + 1).split('/')[0]
      : null
    this.#hosts.set(pid, host)
    return host
  }

  /** The guest whose archive the process has open for writing; null if there is none. */
  #guestOf(pid: number): string | null {
    const folder = `/proc/${pid}/fd`
    try {
      for (const fd of readdirSync(folder)) {
        const target = linkOf(join(folder, fd))
        if (!target.startsWith(`${this.#options.place}/`) || !target.includes('.partial')) continue
        return target.slice(this.#options.place.length + 1).split('/')[0]
      }
    } catch {
      // It has ended.
    }
    return null
  }
}

function text(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
