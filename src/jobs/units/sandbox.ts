/**
 * What the service of a job may do: as little as the job allows. Whether it is little is measured by `systemd-analyze security`. Guests of a
 * QEMU meet it at sockets, so it shares the folders of these with the host; and a hook is any program, so what hooks may do is not known.
 */

import { homedir } from 'node:os'
import { dirname, isAbsolute, resolve } from 'node:path'
import { parsePlace } from '../../storage/archive/spec.ts'
import type { Job } from '../file/schema.ts'
import { word } from './unit-values.ts'

export interface Running {
  /** Node, our launcher and the job file: what must be readable. */
  files: readonly string[]
  /** A unit of a user's own manager. */
  isUser: boolean
}

const MiB = 1 << 20
/** Bytes for the run itself, and for each guest at once beside its buffers. */
const BASE = 512 * MiB
const EACH = 512 * MiB
/** A guest that boots, and its QEMU. */
const BOOT = 2560 * MiB
const PARALLEL = 2

/** Lines of the section [Service]. */
export function sandbox(job: Job, running: Running): string[] {
  return [...memory(job), ...always(job), ...(running.isUser ? [] : ofRoot(job, running))]
}

function memory({ limits = {}, check = {} }: Job): string[] {
  const most = limits.memory ?? BASE + (limits.parallel ?? PARALLEL) * EACH + (check.boot === undefined ? 0 : BOOT)
  return [`MemoryMax=${Math.ceil(most / MiB)}M`, 'TasksMax=1024']
}

/** What also the manager of a user can do. */
function always(job: Job): string[] {
  return [
    'UMask=0077',
    'LockPersonality=yes',
    'RestrictRealtime=yes',
    'SystemCallArchitectures=native',
    ...(needsMoreRights(job)
      ? ['# Hooks and sendmail may be programs with rights of their own, so NoNewPrivileges= and filters are left out.']
      : ['NoNewPrivileges=yes', 'RestrictSUIDSGID=yes', 'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK']),
  ]
}

function ofRoot(job: Job, { files }: Running): string[] {
  const live = meetsQemu(job)
  const paths = writable(job)
  return [
    'ProtectSystem=strict',
    ...(paths.length > 0 ? [`ReadWritePaths=${paths.map((path) => word(`-${path}`)).join(' ')}`] : []),
    `ProtectHome=${needsHome(job, files) ? 'read-only' : 'yes'}`,
    ...(live ? [] : ['PrivateTmp=yes']),
    ...(needsDevices(job) ? [] : ['PrivateDevices=yes']),
    'ProtectKernelTunables=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelLogs=yes',
    'ProtectControlGroups=yes',
    'ProtectClock=yes',
    'ProtectHostname=yes',
    'RestrictNamespaces=yes',
    'KeyringMode=private',
    ...(needsMoreRights(job)
      ? []
      : [
          'SystemCallFilter=@system-service seccomp',
          'SystemCallErrorNumber=EPERM',
          // Images and sockets of other users are read; QEMU of a boot is given another user.
          `CapabilityBoundingSet=${CAPABILITIES.join(' ')}`,
        ]),
  ]
}

const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_PTRACE',
]

/** Whether it runs programs that may need more: hooks, and sendmail, which is setgid in places. */
function needsMoreRights({ hooks, notify = [] }: Job): boolean {
  return hooks !== undefined || notify.some((one) => 'mail' in one && one.smtp === undefined)
}

/** Whether a QEMU outside of the service connects to sockets that it makes. */
function meetsQemu({ guests }: Job): boolean {
  return guests.some(({ libvirt, qmp, proxmox }) => libvirt !== undefined || qmp !== undefined || proxmox !== undefined)
}

/** Guests of our disk server hand over what they have; those of others may have block devices. A boot wants KVM. */
function needsDevices({ guests, check }: Job): boolean {
  return check?.boot !== undefined || guests.some(({ attach }) => attach === undefined)
}

function needsHome(job: Job, files: readonly string[]): boolean {
  const kinds = job.to.map(({ place }) => kindOf(place))
  // Keys of ssh, and credentials of stores.
  if (kinds.some((kind) => kind !== 'file')) return true
  const all = [...files, homeless(job.file), ...(job.identity ?? []), ...drivePaths(job)]
  return all.some((path) => /^(\/home|\/root|\/run\/user)(\/|$)/.test(path)) || homedir() === '/'
}

function homeless(path: string): string {
  return dirname(resolve(path))
}

function drivePaths({ guests }: Job): string[] {
  return guests.flatMap(({ drives }) => (drives === undefined || Array.isArray(drives) ? [] : Object.values(drives)))
}

function kindOf(place: string): string {
  return parsePlace(`${place.replace(/\/+$/, '')}/x`).kind
}

/** Folders that it writes to, besides those that systemd makes for it. */
function writable(job: Job): string[] {
  const places = job.to.map(({ place }) => place).filter((place) => kindOf(place) === 'file')
  const metrics = job.metrics === undefined ? [] : [job.metrics]
  const sockets = meetsQemu(job) ? ['/run', '/tmp', '/var/tmp', ...socketFolders(job)] : []
  const mail = (job.notify ?? []).some((one) => 'mail' in one && one.smtp === undefined)
    ? ['/var/spool', '/var/mail']
    : []
  const all = [...places, ...metrics, ...sockets, ...mail]
  return [...new Set(all.map((path) => (isAbsolute(path) ? path : resolve(dirname(job.file), path))))].sort()
}

function socketFolders(job: Job): string[] {
  return [job['socket-dir'], ...job.guests.map((entry) => entry['socket-dir'])].filter((path) => path !== undefined)
}
