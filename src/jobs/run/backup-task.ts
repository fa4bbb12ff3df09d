/** Makes the task of one guest's backup: the fields of the job file as options of `backup`. */

import { basename } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import type { Encryption } from '../../operations/write-archive.ts'
import type { ObjectOptions } from '../../storage/archive/s3/object-options.ts'
import { pathIn } from '../file/load.ts'
import type { GuestEntry, Job, PlaceEntry } from '../file/schema.ts'
import { type Guest, sourceText } from '../guests/guest.ts'
import { type ArchivePlan, compressOf, isSealed } from './archive-plan.ts'
import { isRequired } from './places.ts'
import type { BackupTask } from './task.ts'

const DAY_MS = 86_400_000

/** `rate`: bytes a second at first; null for no limit. */
export function backupTask(job: Job, guest: Guest, plan: ArchivePlan, rate: number | null): BackupTask {
  const { entry, source } = guest
  const common = {
    rate,
    verify: job.check?.verify === 'after',
    identities: (job.identity ?? []).map((path) => pathIn(job, path)),
  }
  const [first, ...others] = plan.targets
  if (entry.pipeline !== undefined || job.pipeline !== undefined) {
    const targets = plan.targets.map(({ to }, index) => [`TARGET${index === 0 ? '' : index + 1}`, to])
    return {
      ...common,
      kind: 'pipeline',
      file: pathIn(job, (entry.pipeline ?? job.pipeline)!),
      set: { ...job.set, ...entry.set },
      variables: { GUEST: guest.name, SOURCE: addressOf(guest), ...Object.fromEntries(targets) },
      to: first.to,
    }
  }
  const both = <K extends keyof GuestEntry & keyof Job>(key: K) => entry[key] ?? job[key]
  const writing = {
    to: first.to,
    also: others.map(({ entry: place, to }) => ({
      to,
      required: isRequired(place),
      ...given({ encrypt: sealingOf(job, place), object: objectOf(place, plan.time) }),
    })),
    guest: guest.name,
    compress: compressOf(job, guest),
    ctime: Math.floor(plan.time / 1000),
    ...given({
      encrypt: sealingOf(job, first.entry),
      object: objectOf(first.entry, plan.time),
      since: plan.parent ?? undefined,
      buffer: both('buffer'),
      threads: both('threads'),
      checksums: both('checksums'),
      index: both('index'),
      configs: configsOf(job, both('configs')),
    }),
  }
  if (source.kind === 'drives') {
    const own = given({ forceShare: both('force-share'), inOrder: both('in-order') })
    return { ...common, kind: 'drives', options: { ...writing, ...own, drives: { ...source.drives } } }
  }
  const options = {
    ...writing,
    ...given({
      drives: entry.drives,
      exclude: both('exclude-drives'),
      maxStall: entry['max-stall'] ?? job['max-stall'] ?? job.limits?.['max-stall'],
      mode: both('mode'),
      agent: both('agent'),
      fsfreeze: both('fsfreeze'),
      withRam: both('with-ram'),
      track: both('track'),
      socketDir: both('socket-dir'),
    }),
  }
  switch (source.kind) {
    case 'libvirt':
      return {
        ...common,
        kind: 'guest',
        options: { ...options, libvirt: source.domain, ...given({ connect: source.connect }) },
      }
    case 'qmp':
      return { ...common, kind: 'guest', options: { ...options, qmp: source.socket } }
    case 'attach': {
      // The memory for old data is that of the disk server, and so is the clock.
      const { buffer, ctime: _, ...rest } = options as typeof options & { buffer?: number }
      return {
        ...common,
        kind: 'guest',
        options: { ...rest, ...given({ guestBuffer: buffer }), attach: source.control },
      }
    }
    default: {
      if (options.withRam) {
        throw new VmapipeError('CONFIG', `${guest.name}: qmrestore has no place for the memory of a guest`, {
          hint: 'leave out with-ram, or name the guest by qmp: /run/qemu-server/ID.qmp',
        })
      }
      const { drives, withRam, ...rest } = options as typeof options & { drives?: GuestEntry['drives'] }
      const own = drives === undefined || Array.isArray(drives) ? {} : { drives }
      return { ...common, kind: 'proxmox', options: { ...rest, ...own, vmid: source.id } }
    }
  }
}

/** How a pipeline reaches the guest. */
function addressOf({ source, name }: Guest): string {
  switch (source.kind) {
    case 'libvirt':
      return source.domain
    case 'qmp':
      return source.socket
    case 'attach':
      return source.control
    case 'drives':
      return Object.values(source.drives)[0] ?? name
    default:
      return sourceText(source)
  }
}

/** Who can read the archives at this place. */
export function sealingOf(job: Job, entry: PlaceEntry): Encryption | undefined {
  if (!isSealed(entry)) return undefined
  const files = entry['recipients-files']?.map((path) => pathIn(job, path))
  return given({ recipients: entry.recipients, recipientsFiles: files })
}

function objectOf(entry: PlaceEntry, now: number): ObjectOptions | undefined {
  const days = entry['retain-for']
  const object = given({
    retainUntil: days && new Date(now + Number.parseInt(days, 10) * DAY_MS).toISOString(),
    storageClass: entry['storage-class'],
    sse: entry.sse,
    tags: entry.tags,
  })
  return Object.keys(object).length === 0 ? undefined : (object as ObjectOptions)
}

function configsOf(job: Job, configs: GuestEntry['configs']): Record<string, string> | undefined {
  if (configs === undefined) return undefined
  const entries = Array.isArray(configs) ? configs.map((path) => [basename(path), path]) : Object.entries(configs)
  return Object.fromEntries(entries.map(([name, path]) => [name, pathIn(job, path)]))
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Without what is undefined. */
function given<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>
}
