/** What there is on the three hosts of the made-up house: guests, archives in chains, jobs and runs. All is computed from one time. */

import { crc32, deflateSync } from 'node:zlib'
import type { RunReport } from '../../src/jobs/report.ts'
import type { ArchiveRow, GuestRow, HostRow, JobRow, RunRow } from '../../src/web/house.ts'

const HOUR = 3600_000
const DAY = 24 * HOUR
const GIB = 2 ** 30

/** Names that harm a page which does not escape them. */
export const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  '"><script>alert(2)</script>',
  "'; DROP TABLE guests; --",
  'línea\nnueva\r\nSet-Cookie: x=1',
  '\u202egnp.exe',
  'ein-Gast-mit-einem-sehr-langen-Namen-der-auf-einem-Telefon-in-keine-Zeile-passt-und-auch-sonst-nirgends',
]

const ORDINARY = ['web', 'db', 'mail', 'git', 'files', 'ldap', 'ci', 'proxy', 'wiki', 'cache', 'vpn', 'print']

export const HOSTS = ['north', 'south', 'attic'] as const

/** A number from 0 to 1 that is always the same for the same words. */
export function chance(...words: (string | number)[]): number {
  let hash = 2166136261
  for (const c of words.join('/')) hash = Math.imul(hash ^ c.codePointAt(0)!, 16777619)
  return ((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32
}

const iso = (ms: number) => new Date(ms).toISOString()

interface MadeUpGuest {
  host: string
  guest: string
  job: string | null
  /** Bytes of its drives. */
  size: number
  /** Days since its last good backup; null if there is none. */
  age: number | null
}

/** Forty guests: thirty-four with ordinary names. The attic is gone since two days. */
export const GUESTS: readonly MadeUpGuest[] = [
  ...HOSTILE,
  ...Array.from(
    { length: 34 },
    (_, i) => `${ORDINARY[i % ORDINARY.length]}${String(1 + Math.floor(i / ORDINARY.length)).padStart(2, '0')}`,
  ),
].map((guest, i) => {
  const host = HOSTS[i < 6 ? 0 : i % 5 === 4 ? 2 : i % 2]
  const job = i % 13 === 12 ? null : host === 'attic' ? 'attic-weekly' : i % 4 === 3 ? 'databases' : 'nightly'
  const age = job === null || i === 7 ? null : host === 'attic' ? 9 : i % 9 === 8 ? 2.2 : i % 9 === 5 ? 5 : 0.3
  return { host, guest, job, size: Math.round((8 + 120 * chance(guest, 'size')) * GIB), age }
})

export function guestRows(now: number): GuestRow[] {
  return GUESTS.map(({ host, guest, job, size, age }, i) => {
    const promise = job === null ? null : job === 'attic-weekly' ? 10 * 86400 : 1.5 * 86400
    const days = age ?? Number.POSITIVE_INFINITY
    const isLate = promise !== null && days * 86400 > promise
    const state =
      job === null || host === 'attic'
        ? 'unprotected'
        : days * 86400 > 2 * (promise ?? 0)
          ? 'overdue'
          : isLate
            ? 'late'
            : 'good'
    return {
      host,
      guest,
      source: `libvirt:${guest}`,
      running: host === 'attic' ? null : i % 6 !== 5,
      jobs: job === null ? [] : [job],
      lastGood: age === null ? null : iso(now - age * DAY),
      promise,
      state,
      problem:
        job === null
          ? 'no job names it'
          : host === 'attic'
            ? "its host 'attic' is gone since two days"
            : state === 'good'
              ? null
              : 'the place /srv/backup was full: no space left on device',
      size,
      trend:
        age === null
          ? []
          : Array.from({ length: 14 }, (_, n) => ({
              at: iso(now - (age + 13 - n) * DAY),
              stored: Math.round(size * (n % 7 === 0 ? 0.4 : 0.01 + 0.03 * chance(guest, n))),
              seconds: Math.round(20 + 600 * chance(guest, n, 's') * (n % 7 === 0 ? 3 : 1)),
              outcome: chance(guest, n, 'o') < 0.05 ? 'failed' : 'done',
            })),
    }
  })
}

/** Two chains of each guest at a local place, and what is newer also offsite. */
export function archiveRows(now: number): ArchiveRow[] {
  const rows: ArchiveRow[] = []
  for (const [g, { host, guest, age, size }] of GUESTS.entries()) {
    if (age === null) continue
    for (const [p, place] of ['/srv/backup', 's3://offsite/vms'].entries()) {
      let parent: string | null = null
      for (let n = p === 0 ? 0 : 7; n < 14; n++) {
        const at = now - (age + 13 - n) * DAY
        const kind = n % 7 === 0 ? 'full' : 'incremental'
        const uuid = `00000000-0000-4000-8000-${(g * 100 + n).toString(16).padStart(12, '0')}`
        const booted = n === 13 && g % 3 === 0
        rows.push({
          id: `${g}-${p}-${n}`,
          host,
          guest,
          place,
          name: `${iso(at).slice(0, 19).replaceAll(':', '')}Z.${kind === 'full' ? 'vma' : 'vmi'}.zst`,
          kind,
          uuid,
          parent: kind === 'full' ? null : parent,
          at: iso(at),
          size: Math.round(size * (kind === 'full' ? 0.4 : 0.01 + 0.03 * chance(guest, n))),
          encrypted: p === 1,
          locked: g === 9 && p === 1,
          unreadable: g === 11 && n === 9 ? 'damaged: its first header has a wrong checksum' : null,
          protected: n === 7 && g % 4 === 0,
          notes: n === 7 && g % 4 === 0 ? `before the upgrade of ${guest}` : null,
          checks: [
            ...(n > 8
              ? [
                  {
                    kind: 'verify' as const,
                    at: iso(at + HOUR),
                    passed: !(g === 11 && n === 9),
                    detail: null,
                    picture: false,
                  },
                ]
              : []),
            ...(booted
              ? [
                  {
                    kind: 'boot' as const,
                    at: iso(at + 2 * HOUR),
                    passed: g % 2 === 0,
                    detail: g % 2 === 0 ? 'login prompt after 14 s' : 'no login within 120 s',
                    picture: true,
                  },
                ]
              : []),
          ],
        })
        parent = uuid
      }
    }
  }
  return rows.sort((a, b) => b.at!.localeCompare(a.at!))
}

const JOBS: { job: string; hosts: string[]; schedule: string; every: number; central: boolean }[] = [
  { job: 'nightly', hosts: ['north', 'south'], schedule: 'Mon..Sun 01:30', every: DAY, central: true },
  { job: 'databases', hosts: ['north', 'south'], schedule: '*-*-* 00/6:00', every: 6 * HOUR, central: false },
  { job: 'attic-weekly', hosts: ['attic'], schedule: 'Sun 03:00', every: 7 * DAY, central: false },
]

export function jobRows(now: number): JobRow[] {
  return JOBS.flatMap(({ job, hosts, schedule, every, central }) =>
    hosts.map((host) => {
      const [last] = runRows(now).filter((run) => run.host === host && run.job === job)
      const first = Math.ceil(now / every) * every + 1.5 * HOUR
      return {
        host,
        job,
        description: job === 'databases' ? 'four times a day, so that little is lost' : null,
        central,
        schedule: [schedule],
        next: host === 'attic' ? [] : Array.from({ length: 8 }, (_, n) => iso(first + n * every)),
        window: job === 'nightly' ? '22:00-06:00' : null,
        places: ['/srv/backup', ...(job === 'databases' ? [] : ['s3://offsite/vms'])],
        guests: GUESTS.filter((guest) => guest.host === host && guest.job === job).map(({ guest }) => guest),
        promise: every === DAY ? 1.5 * 86400 : (1.5 * every) / 1000,
        problem: host === 'attic' ? 'its host is gone' : null,
        last: last ? { run: last.run, started: last.started, ended: last.ended, outcome: last.outcome } : null,
      }
    }),
  )
}

/** Those of the last sixty days, the newest first. */
export function runRows(now: number): RunRow[] {
  return JOBS.flatMap(({ job, hosts, every }) =>
    hosts.flatMap((host) =>
      Array.from({ length: Math.floor((60 * DAY) / every) }, (_, n) => {
        const started = Math.floor(now / every) * every - n * every + 1.5 * HOUR - (host === 'attic' ? 9 * DAY : every)
        const luck = chance(job, host, n, 'run')
        const guests = GUESTS.filter((guest) => guest.host === host && guest.job === job).length
        const failed = luck < 0.03 ? guests : luck < 0.15 ? 1 + Math.floor(luck * 20) : 0
        return {
          host,
          job,
          run: `${iso(started).slice(0, 19).replaceAll(/[-:]/g, '')}-${host}`,
          started: iso(started),
          ended: iso(started + (10 + 50 * luck) * 60_000),
          outcome: failed === 0 ? ('all' as const) : failed >= guests ? ('none' as const) : ('some' as const),
          done: Math.max(0, guests - failed),
          failed: Math.min(failed, guests),
          stored: Math.round(luck * 40 * GIB),
        }
      }),
    ),
  ).sort((a, b) => b.started.localeCompare(a.started))
}

export function reportOf(now: number, row: RunRow): RunReport {
  const guests = GUESTS.filter((guest) => guest.host === row.host && guest.job === row.job)
  return {
    version: 1,
    job: row.job,
    run: row.run,
    host: row.host,
    started: row.started,
    ended: row.ended,
    outcome: row.outcome,
    guests: guests.map(({ guest, size }, i) =>
      i < row.failed
        ? {
            guest,
            outcome: 'failed',
            reason: `no space left on device: write '/srv/backup/${guest}/x.vma.zst.partial' (ENOSPC)`,
            code: 'FAILED',
            hint: 'make room, or prune',
            attempts: 3,
            places: [],
            warnings: [],
          }
        : {
            guest,
            outcome: 'done',
            attempts: 1,
            kind: 'incremental',
            places: ['/srv/backup'],
            seconds: Math.round(30 + 300 * chance(guest, row.run)),
            read: Math.round(size / 20),
            stored: Math.round(size / 60),
            longestWait: Math.round(5 + 40 * chance(guest, row.run, 'w')),
            verified: true,
            warnings: i === 0 ? [`the guest agent of ${guest} does not answer: its filesystems were not frozen`] : [],
          },
    ),
    ...(row.outcome === 'none' ? { problem: 'the place /srv/backup is away: connection refused' } : {}),
    removed: [{ place: '/srv/backup', archives: 3, bytes: 7 * GIB }],
    next: iso(now + 5 * HOUR),
  }
}

export function hostRows(now: number): HostRow[] {
  return HOSTS.map((host, i) => ({
    host,
    state: host === 'attic' ? 'gone' : 'up',
    version: i === 1 ? '0.0.9' : '0.1.0',
    zone: i === 1 ? 'America/New_York' : 'Europe/Berlin',
    labels: host === 'attic' ? ['old'] : ['prod', `rack${i}`],
    seen: iso(host === 'attic' ? now - 2 * DAY : now - 3000),
    skew: host === 'attic' ? null : i === 1 ? -42 : 0.02,
    guests: GUESTS.filter((guest) => guest.host === host).length,
    running: host === 'north' ? 3 : host === 'south' ? 1 : 0,
  }))
}

/** A screen of 320 by 200 with a few lines on it, as PNG. */
export function madeUpPicture(): Buffer {
  const [width, height] = [320, 200]
  const rows = Buffer.alloc((width + 1) * height)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const isText =
        y % 12 > 2 && y % 12 < 9 && x < 40 + 240 * chance('line', Math.floor(y / 12)) && (x * 7 + y * 3) % 5 < 2
      rows[y * (width + 1) + 1 + x] = isText && y < 130 ? 200 : 16
    }
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 0, 0, 0, 0], 8)
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const ends = Buffer.alloc(8)
  ends.writeUInt32BE(data.length, 0)
  ends.writeUInt32BE(crc32(body), 4)
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)])
}
