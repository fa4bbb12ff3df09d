/** The notes of an archive of a guest of Proxmox. */

import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { DEFAULT_TEMPLATE, notesOf } from '../../machine/proxmox/notes.ts'
import type { ProxmoxGuest } from './guest.ts'
import { placesOf } from './places.ts'

export async function notesFor(
  guest: Pick<ProxmoxGuest, 'vmid' | 'name'>,
  template = DEFAULT_TEMPLATE,
): Promise<string> {
  const { vmid, name } = guest
  return notesOf(template, {
    guestname: name ?? `VM ${vmid}`,
    node: hostname().split('.')[0],
    vmid: String(vmid),
    cluster: await clusterName(placesOf(vmid).cluster),
  })
}

async function clusterName(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return /^\s*cluster_name:\s*(\S+)\s*$/m.exec(text)?.[1] ?? ''
}
