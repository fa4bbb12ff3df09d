/**
 * A house that is made up, for tests of the page and of its server: three hosts, forty guests, of which some have hostile names. Its backups
 * go on with the time, its buttons change it, and it remembers what it was asked for.
 */

import { Readable } from 'node:stream'
import { VmapipeError } from '../../src/core/errors.ts'
import type { StageStats } from '../../src/core/stats.ts'
import type { Action, ArchiveRow, Download, House, NowRow, NowView, RestoreForm, TaskRow } from '../../src/web/house.ts'
import { daysOf } from '../../src/web/run-days.ts'
import {
  archiveRows,
  chance,
  GUESTS,
  guestRows,
  HOSTS,
  hostRows,
  jobRows,
  madeUpPicture,
  reportOf,
  runRows,
} from './made-up-guests.ts'

type Topic = 'now' | 'guests' | 'archives' | 'jobs' | 'hosts'

export interface MadeUpHouse extends House {
  /** All that was asked for, the oldest first. */
  readonly asked: { action: Action; by: string }[]
  /** Each download: how many bytes the server has pulled of it, and whether it was ended before its end. */
  readonly downloads: { pulled: number; ended: boolean; error: string | null }[]
  /** How often `now()` was called. */
  readonly looks: number
  readonly watchers: number
  /** Says that something has changed. */
  poke(...what: Topic[]): void
}

export interface MadeUpOptions {
  now?: () => number
  /** Milliseconds between two changes of what runs; 0 for none. */
  every?: number
  /** Bytes of a download; null if it does not say. */
  downloadSize?: number | null
  /** Its name, which is hostile by default. */
  downloadName?: string
  /** What it cannot do, as a fleet cannot. */
  without?: Action['do'][]
  download?: boolean
}

const ALL: Action['do'][] = [
  'start',
  'cancel',
  'verify',
  'boot',
  'protect',
  'note',
  'prune',
  'restore',
  'drain',
  'rescan',
]

export function madeUpHouse({ now = Date.now, every = 500, ...options }: MadeUpOptions = {}): MadeUpHouse {
  const began = now()
  const watchers = new Set<(what: Topic) => void>()
  const asked: MadeUpHouse['asked'] = []
  const downloads: MadeUpHouse['downloads'] = []
  const archives = archiveRows(began)
  const tasks: (TaskRow & { endsAt: number })[] = []
  const started: { id: string; host: string; job: string; guest: string; at: number }[] = [
    { id: 'north-1', host: 'north', job: 'nightly', guest: GUESTS[0].guest, at: began - 40_000 },
    { id: 'north-2', host: 'north', job: 'nightly', guest: 'web01', at: began - 200_000 },
    { id: 'north-3', host: 'north', job: 'databases', guest: 'db01', at: began - 5_000 },
    { id: 'south-1', host: 'south', job: 'nightly', guest: 'mail01', at: began - 90_000 },
  ]
  const canceled = new Set<string>()
  const drained = new Set<string>()
  const runsOf = ({ host, job, since }: { host?: string; job?: string; since: string }) =>
    runRows(began).filter(
      (row) =>
        (host === undefined || row.host === host) && (job === undefined || row.job === job) && row.started >= since,
    )
  let count = 0
  let looks = 0
  const poke = (...what: Topic[]) => {
    for (const one of what) for (const watcher of watchers) watcher(one)
  }
  const timer = every > 0 ? setInterval(() => poke('now'), every) : undefined
  timer?.unref()

  const find = (host: string, id: string): ArchiveRow => {
    const row = archives.find((one) => one.id === id && one.host === host)
    if (row === undefined) throw new VmapipeError('USAGE', `there is no archive '${id}' on '${host}'`)
    return row
  }
  const task = (what: TaskRow['what'], host: string, subject: string, by: string): string => {
    const id = `task-${++count}`
    tasks.push({
      ...{
        id,
        host,
        what,
        subject,
        by,
        state: 'running',
        began: new Date(now()).toISOString(),
        ended: null,
        percent: 0,
      },
      lines: [`vmapipe ${what} ${subject}`],
      endsAt: now() + 6000,
    })
    poke('now')
    return id
  }

  return {
    name: 'made-up',
    abilities: {
      actions: ALL.filter((one) => !options.without?.includes(one)),
      hosts: true,
      download: options.download ?? true,
      why: Object.fromEntries(
        [...(options.without ?? []), ...(options.download === false ? (['download'] as const) : [])].map((one) => [
          one,
          `run on {host}: vmapipe ${one}`,
        ]),
      ),
    },
    asked,
    downloads,
    get looks() {
      return looks
    },
    get watchers() {
      return watchers.size
    },
    poke,
    async now(): Promise<NowView> {
      looks++
      for (const one of tasks.filter(({ state }) => state === 'running')) {
        one.percent = Math.min(100, Math.round(100 - (one.endsAt - now()) / 60))
        if (one.percent < 100) continue
        Object.assign(one, { state: 'done', ended: new Date(now()).toISOString() })
        one.lines.push('done: all extents have right checksums')
      }
      return {
        at: new Date(now()).toISOString(),
        rows: [
          ...started.map((one) => runningRow(one, now(), canceled.has(one.id))),
          waitingRow('north-9', 'north', GUESTS[3].guest, "waits for the place '/srv/backup': two of two backups run"),
          waitingRow('south-9', 'south', 'git01', 'waits for the window of the job: 22:00 in America/New_York'),
        ],
        tasks: tasks.map(({ endsAt: _, ...row }) => row),
        problems: ["the host 'attic' is gone since two days: its 7 guests are unprotected"],
      }
    },
    guests: async () => guestRows(began),
    guest: async (host, name) => guestRows(began).find((row) => row.host === host && row.guest === name) ?? null,
    archives: async ({ host, guest }) =>
      archives.filter(
        (row) => (host === undefined || row.host === host) && (guest === undefined || row.guest === guest),
      ),
    async content(host, archive) {
      const row = find(host, archive)
      const sizes = GUESTS.find(({ guest }) => guest === row.guest)?.size ?? 2 ** 33
      const problem = row.locked ? 'it is encrypted, and this host has no key for it' : row.unreadable
      return problem !== null
        ? { drives: [], configs: [], guest: row.guest, problem }
        : {
            drives: [
              { name: 'drive-scsi0', size: sizes },
              { name: 'drive-efidisk0', size: 540672 },
            ],
            configs: ['qemu-server.conf'],
            guest: row.guest,
            problem: null,
          }
    },
    jobs: async () => jobRows(began),
    runs: async ({ until, most, ...asked }) =>
      runsOf(asked)
        .filter(({ started }) => until === undefined || started < until)
        .slice(0, most),
    runDays: async ({ zone, ...asked }) => daysOf(runsOf(asked), zone),
    async report(host, job, run) {
      const row = runRows(began).find((one) => one.host === host && one.job === job && one.run === run)
      return row === undefined ? null : reportOf(began, row)
    },
    hosts: async () => hostRows(now()).map((row) => (drained.has(row.host) ? { ...row, state: 'drained' } : row)),
    async prunePlan(_host, job, guest) {
      if (!jobRows(began).some((row) => row.job === job)) throw new VmapipeError('USAGE', `there is no job '${job}'`)
      const rows = archives
        .filter((row) => guest === undefined || row.guest === guest)
        .slice(0, 60)
        .map((row) => ({
          archive: row.id,
          place: `${row.place}/${row.guest ?? ''}/${row.name}`,
          size: row.size,
          stays: row.protected || Date.parse(row.at!) > began - 9 * 86400_000,
          reasons: row.protected ? ['protected'] : ['daily 2026-01-02'],
        }))
      return {
        token: 'plan-1',
        rows,
        bytes: rows.filter(({ stays }) => !stays).reduce((sum, { size }) => sum + size, 0),
      }
    },
    restoreCommand: async (form) => commandOf(form, find(form.host, form.archive)),
    async act(action, by) {
      asked.push({ action, by })
      return act(action, by)
    },
    picture: async (host, archive) =>
      find(host, archive).checks.some(({ picture }) => picture) ? madeUpPicture() : null,
    async files(host, archive, path) {
      find(host, archive)
      return filesBelow(path)
    },
    async download({ host, archive, drive, file }, signal): Promise<Download> {
      find(host, archive)
      const size = options.downloadSize === undefined ? 3 * 2 ** 20 : options.downloadSize
      const about = { pulled: 0, ended: false, error: null as string | null }
      downloads.push(about)
      const content = madeUpBytes(size ?? 2 ** 26, about)
      signal.addEventListener('abort', () => content.destroy(), { once: true })
      content.once('close', () => {
        about.ended = about.pulled < (size ?? 2 ** 26)
      })
      return { name: options.downloadName ?? `${drive ?? file?.split('/').at(-1)}.raw`, size, content }
    },
    watch(changed) {
      watchers.add(changed)
      return () => void watchers.delete(changed)
    },
    async close() {
      clearInterval(timer)
      watchers.clear()
    },
  }

  function act(action: Action, by: string): string | null {
    switch (action.do) {
      case 'start': {
        if (!jobRows(began).some(({ job, host }) => job === action.job && host === action.host))
          throw new VmapipeError('USAGE', `there is no job '${action.job}' on '${action.host}'`)
        const id = `run-${++count}`
        const guests = action.guests ?? ['web01']
        started.push(...guests.map((guest, i) => ({ ...action, id: `${id}-${i}`, guest, at: now() })))
        poke('now')
        return id
      }
      case 'cancel':
        if (!started.some(({ id }) => id === action.id) && !tasks.some(({ id }) => id === action.id))
          throw new VmapipeError('USAGE', `nothing runs with the id '${action.id}'`)
        canceled.add(action.id)
        for (const one of tasks) if (one.id === action.id) one.state = 'canceled'
        poke('now')
        return null
      case 'verify':
      case 'boot':
        return task(action.do, action.host, find(action.host, action.archive).name, by)
      case 'protect':
        find(action.host, action.archive).protected = action.on
        poke('archives')
        return null
      case 'note':
        find(action.host, action.archive).notes = action.text === '' ? null : action.text
        poke('archives')
        return null
      case 'prune':
        if (action.token !== 'plan-1')
          throw new VmapipeError('USAGE', 'the plan has changed', { hint: 'look at it again' })
        return task('prune', action.host, action.job, by)
      case 'restore':
        return task('restore', action.form.host, find(action.form.host, action.form.archive).name, by)
      case 'drain':
        if (!(HOSTS as readonly string[]).includes(action.host))
          throw new VmapipeError('USAGE', `there is no host '${action.host}'`)
        if (action.on) drained.add(action.host)
        else drained.delete(action.host)
        poke('hosts')
        return null
      case 'rescan':
        poke('guests', 'archives', 'jobs', 'hosts')
        return null
    }
  }
}

/** A backup of 300 seconds, which begins again when it is done. */
function runningRow(
  { id, host, job, guest, at }: { id: string; host: string; job: string; guest: string; at: number },
  now: number,
  isCanceled: boolean,
): NowRow {
  const elapsed = ((now - at) / 1000) % 300
  const total = 40 * 2 ** 30
  const done = Math.round((total * elapsed) / 300)
  const rate = (total / 300) * (0.8 + 0.4 * chance(id, Math.floor(elapsed)))
  return {
    ...{ id, host, job, run: `${job}-run`, guest, attempts: 1, began: new Date(at).toISOString() },
    phase: isCanceled ? 'canceled' : 'backup',
    snapshot: {
      ...{ elapsed, total, done, percent: (done / total) * 100, read: Math.round(done * 0.7), written: done },
      ...{ zero: Math.round(done * 0.3), archive: Math.round(done * 0.4), readRate: rate, writeRate: rate * 0.4 },
      eta: 300 - elapsed,
    },
    stats: statsOf(elapsed, done, host),
    latency: {
      before: 1.2,
      points: Array.from({ length: 120 }, (_, n): [number, number] => {
        const at = Math.floor(elapsed) - 119 + n
        const spike = at >= 0 && at < 6 ? 6 - at : 0
        return [at, 1 + 0.6 * chance(id, at) + (at >= 0 ? 1.1 : 0) + spike]
      }),
    },
    reason: isCanceled ? 'canceled on the page' : null,
  }
}

function statsOf(elapsed: number, done: number, host: string): NowRow['stats'] {
  const stage = (name: string, medium: string | null, busy: number, given: number): StageStats => ({
    ...{ name, medium, items: Math.round(done / 2 ** 20), bytesIn: done, bytesOut: Math.round(done * given) },
    working: elapsed * busy,
    waitingForInput: elapsed * (1 - busy) * 0.4,
    waitingForNext: elapsed * (1 - busy) * 0.6,
    held: 24 * 2 ** 20,
    mostHeld: 40 * 2 ** 20,
  })
  const isSlowTarget = host === 'south'
  return {
    elapsed,
    ended: false,
    stages: [
      stage('cluster-source', 'file', 0.35, 1),
      stage('write-interceptor', null, 0.05, 1),
      stage('zero-elider', null, 0.12, 0.7),
      stage('vma-framer', null, 0.2, 0.7),
      stage('compressor', null, isSlowTarget ? 0.4 : 0.93, 0.4),
      stage('sink', isSlowTarget ? 's3' : 'file', isSlowTarget ? 0.96 : 0.3, 0.4),
    ],
    bottleneck: isSlowTarget
      ? { stage: 'sink', medium: 's3', kind: 'target', share: 0.96 }
      : { stage: 'compressor', medium: null, kind: 'processor', share: 0.93 },
  }
}

function waitingRow(id: string, host: string, guest: string, reason: string): NowRow {
  return {
    ...{ id, host, job: 'nightly', run: 'nightly-run', guest, phase: 'waiting', attempts: 0, began: null },
    ...{ snapshot: null, stats: null, latency: null, reason },
  }
}

function commandOf({ drives, domain, qemu }: RestoreForm, { place, name }: ArchiveRow): string {
  const quoted = (text: string) => (/^[\w./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)
  const words = domain
    ? ['--define', domain.name, '--folder', domain.folder]
    : qemu
      ? ['--qemu', qemu.folder]
      : Object.entries(drives).flatMap(([drive, path]) => ['--drive', `${drive}=${path}`])
  return ['vmapipe', 'restore', `${place}/${name}`, ...words].map(quoted).join(' ')
}

function filesBelow(path: string): { name: string; folder: boolean; size: number | null }[] {
  const folder = (name: string) => ({ name, folder: true, size: null })
  const file = (name: string, size: number | null) => ({ name, folder: false, size })
  const clean = path.replaceAll(/^\/+|\/+$/g, '')
  if (clean === '') return [folder('drive-scsi0p1'), folder('drive-scsi0p2')]
  if (/^drive-scsi0p\d$/.test(clean))
    return [folder('etc'), folder('var'), file('<img src=x onerror=alert(3)>.txt', 12)]
  if (/\/etc$/.test(clean)) return [file('hostname', 6), file('fstab', 512), file('a "quoted"; name=x.conf', 3)]
  if (/\/var$/.test(clean)) return [file('big.log', 3 * 2 ** 30)]
  throw new VmapipeError('USAGE', `there is no folder '${path}'`)
}

/** Bytes that are made as they are pulled, and counted. */
function madeUpBytes(size: number, about: { pulled: number; error: string | null }): Readable {
  const piece = Buffer.alloc(64 * 1024, 'made-up ')
  return new Readable({
    highWaterMark: 64 * 1024,
    read() {
      const left = size - about.pulled
      if (left <= 0) return void this.push(null)
      const next = left >= piece.length ? piece : piece.subarray(0, left)
      about.pulled += next.length
      this.push(next)
    },
  })
}
