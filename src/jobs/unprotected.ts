/** Guests of this host that no job backs up, and disks of guests that their newest archive does not have. */

import { existsSync } from 'node:fs'
import { readCatalog } from '../catalog/catalog.ts'
import { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError } from '../core/errors.ts'
import { ControlClient } from '../live/control/client.ts'
import { quickManifest } from '../operations/quick-manifest.ts'
import { findProgram } from '../system/child.ts'
import { pathIn } from './file/load.ts'
import type { Job } from './file/schema.ts'
import { findGuests } from './guests/find.ts'
import type { Guest } from './guests/guest.ts'
import { domainNames } from './guests/libvirt.ts'
import { runningGuests } from './guests/processes.ts'
import { proxmoxGuests } from './guests/proxmox.ts'
import { folderAt } from './run/places.ts'

export interface Unprotected {
  /** Guests that are in no job. */
  guests: { name: string; kind: 'libvirt' | 'proxmox' | 'qemu' | 'serve' }[]
  /** Drives that are not in the newest archive of their guest, or guests that have none: then `drives` is empty. */
  disks: { job: string; guest: string; drives: string[]; archive: string | null }[]
  /** What could not be looked at. */
  warnings: string[]
}

const PROXMOX = '/etc/pve/qemu-server'

/** Errors: ABORTED. */
export async function unprotected(jobs: readonly Job[], signal: AbortSignal): Promise<Unprotected> {
  const result: Unprotected = { guests: [], disks: [], warnings: [] }
  const covered: Guest[] = []
  for (const job of jobs) {
    const { guests, errors } = await findGuests(job, signal)
    covered.push(...guests)
    result.warnings.push(...errors.map((text) => `${job.name}: ${text}`))
    for (const guest of guests) {
      try {
        const missing = await missingDisks(job, guest, signal)
        if (missing !== null) result.disks.push({ job: job.name, guest: guest.name, ...missing })
      } catch (error) {
        signal.throwIfAborted()
        result.warnings.push(`${job.name}: ${guest.name}: ${asVmapipeError(error).text}`)
      }
    }
  }
  result.guests = await uncovered(covered, result.warnings, signal)
  return result
}

/** Guests of this host that are none of these. What cannot be looked at is added to `warnings`. Errors: ABORTED. */
export async function uncovered(
  covered: readonly Guest[],
  warnings: string[],
  signal: AbortSignal,
): Promise<Unprotected['guests']> {
  const sources = covered.map(({ source }) => source)
  const sockets = new Set(
    sources.flatMap((source) =>
      source.kind === 'qmp' ? source.socket : source.kind === 'attach' ? source.control : [],
    ),
  )
  const domains = new Set(sources.flatMap((source) => (source.kind === 'libvirt' ? source.domain : [])))
  const ids = new Set(sources.flatMap((source) => (source.kind === 'proxmox' ? String(source.id) : [])))
  const found: Unprotected['guests'] = []
  const known = new Set<string>()
  if (findProgram('virsh') !== undefined) {
    const names = await domainNames(undefined, signal).catch((error) => {
      signal.throwIfAborted()
      warnings.push(`guests of libvirt: ${asVmapipeError(error).text}`)
      return []
    })
    for (const name of names) known.add(name)
    for (const name of names) if (!domains.has(name)) found.push({ name, kind: 'libvirt' })
  }
  if (existsSync(PROXMOX)) {
    for (const { name } of await proxmoxGuests({ proxmox: ['*'] }, signal)) {
      known.add(name)
      const isCovered = ids.has(name) || [...sockets].some((path) => path.endsWith(`/qemu-server/${name}.qmp`))
      if (!isCovered) found.push({ name, kind: 'proxmox' })
    }
  }
  for (const guest of await runningGuests()) {
    const isCovered = guest.sockets.some((path) => sockets.has(path))
    // Those of libvirt and Proxmox were looked at already.
    const isTheirs = known.has(guest.name) || guest.sockets.some((path) => /\/(libvirt|qemu-server)\//.test(path))
    if (!isCovered && !isTheirs) found.push({ name: guest.name, kind: guest.kind })
  }
  return found
}

/** Null if the newest archive has all drives of the guest, or nobody knows which it has. */
async function missingDisks(
  job: Job,
  guest: Guest,
  signal: AbortSignal,
): Promise<{ drives: string[]; archive: string | null } | null> {
  const keys = job.identity && new Keyring({ identities: job.identity.map((path) => pathIn(job, path)) })
  const [place] = job.to.filter(({ required = true }) => required)
  const folder = folderAt(place, guest.name)
  const entries = (await readCatalog(folder, { keys, signal }).catch(() => [])).filter(
    (entry) => entry.guest === guest.name || entry.unreadable,
  )
  if (entries.length === 0) return { drives: [], archive: null }
  const [newest] = entries.filter((entry) => entry.unreadable === undefined).sort((a, b) => b.ctime - a.ctime)
  const drives = newest && (await drivesOf(guest, signal))
  if (!drives) return null
  const { drives: archived } = await quickManifest({ from: newest.place, signal, ...(keys && { keys }) })
  const names = new Set(archived.map(({ name }) => name))
  const missing = drives.filter((name) => !names.has(name))
  return missing.length === 0 ? null : { drives: missing, archive: newest.place }
}

/** The names that the guest's drives have in archives now; null if that cannot be told without asking its QEMU. */
async function drivesOf({ source }: Guest, signal: AbortSignal): Promise<string[] | null> {
  if (source.kind === 'drives') return Object.keys(source.drives)
  if (source.kind === 'attach')
    return (await new ControlClient(source.control).status(signal)).drives.map(({ name }) => name)
  if (source.kind === 'proxmox') return null
  const { drives } = await import('../operations/drives.ts')
  const { kind } = source
  const place =
    kind === 'qmp'
      ? { qmp: source.socket }
      : { libvirt: source.domain, ...(source.connect && { connect: source.connect }) }
  // Of a guest that is shut off its QEMU tells nothing.
  const inventory = await drives({ ...place, signal }).catch(() => null)
  return inventory?.drives.map(({ name }) => name) ?? null
}
