/** Guests that are found by their sockets: a monitor of QEMU, or the control socket of a disk server. */

import { glob, lstat, realpath } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { QmpClient } from '../../protocol/qmp/client.ts'
import type { GuestEntry } from '../file/schema.ts'
import type { Guest } from './guest.ts'
import { isPattern } from './patterns.ts'

/** The most sockets that one pattern may find. */
const MOST_FOUND = 10_000

export async function socketGuests(entry: GuestEntry, signal: AbortSignal): Promise<Guest[]> {
  const kind = entry.qmp === undefined ? 'attach' : 'qmp'
  const guests: Guest[] = []
  for (const path of await pathsOf(entry[kind]!)) {
    signal.throwIfAborted()
    const source: Guest['source'] = kind === 'qmp' ? { kind, socket: path } : { kind, control: path }
    guests.push({ name: entry.name ?? (await nameOf(path, entry, signal)), source, entry })
  }
  return guests
}

/** The sockets, in order. One that is named without a pattern need not be there: then its guest is one that cannot be backed up. */
async function pathsOf(patterns: readonly string[]): Promise<string[]> {
  const paths = new Set<string>()
  for (const pattern of patterns) {
    if (!isPattern(pattern)) {
      paths.add(await realpath(pattern).catch(() => resolve(pattern)))
      continue
    }
    const found: string[] = []
    for await (const path of glob(pattern)) {
      if (!(await isSocket(path))) continue
      found.push(await realpath(path))
      if (found.length > MOST_FOUND)
        throw new VmapipeError('FAILED', `'${pattern}' finds more than ${MOST_FOUND} sockets`)
    }
    for (const path of found.sort()) paths.add(path)
  }
  return [...paths]
}

/** A symbolic link may lead to a socket: what is at its end counts. */
async function isSocket(path: string): Promise<boolean> {
  const stats = await lstat(await realpath(path).catch(() => path)).catch(() => null)
  return stats?.isSocket() ?? false
}

/** `/run/vms/web.qmp` is web by its file, and `/run/vms/web/qmp.sock` by its folder. */
async function nameOf(path: string, entry: GuestEntry, signal: AbortSignal): Promise<string> {
  const by = entry['name-from'] ?? 'file'
  if (by === 'folder') return basename(dirname(path))
  if (by === 'qemu') return nameOfQemu(path, signal)
  return nameOfSocket(path)
}

/** The name that a guest has by its socket: `/run/vms/web.qmp` is that of web. */
export function nameOfSocket(path: string): string {
  return basename(path).replace(/(\.(qmp|ctl|sock|socket|monitor|control))+$/, '') || basename(path)
}

/** The name that the guest has in QEMU (`-name`). */
async function nameOfQemu(path: string, signal: AbortSignal): Promise<string> {
  const qmp = await QmpClient.connect(path, { signal })
  try {
    const { name } = await qmp.execute<{ name?: unknown }>('query-name')
    if (typeof name === 'string' && name !== '') return name
    throw new VmapipeError('FAILED', `the QEMU at '${path}' has no name`, {
      hint: 'start it with -name, or say name-from: file',
    })
  } finally {
    qmp.close()
  }
}
