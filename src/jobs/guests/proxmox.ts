/** Guests of Proxmox VE, by their ids: those whose config is on this host. */

import { readdir } from 'node:fs/promises'
import { describe, VmapipeError } from '../../core/errors.ts'
import type { GuestEntry } from '../file/schema.ts'
import type { Guest } from './guest.ts'
import { rangeOf } from './patterns.ts'

/** The configs of the guests of this node, in the filesystem of the cluster. */
const CONFIGS = '/etc/pve/qemu-server'

export async function proxmoxGuests(entry: GuestEntry, signal: AbortSignal, configs = CONFIGS): Promise<Guest[]> {
  const ranges = entry.proxmox!.map(rangeOf)
  const names = await readdir(configs).catch((cause) => {
    throw new VmapipeError('FAILED', `this is no host of Proxmox VE: ${describe(cause)}`, { cause })
  })
  signal.throwIfAborted()
  const ids = names
    .map((name) => /^([1-9]\d{0,8})\.conf$/.exec(name)?.[1])
    .filter((id) => id !== undefined)
    .map(Number)
    .filter((id) => ranges.some((range) => range === null || (range.from <= id && id <= range.to)))
  return ids
    .sort((a, b) => a - b)
    .map((id) => ({ name: entry.name ?? String(id), source: { kind: 'proxmox', id }, entry }))
}
