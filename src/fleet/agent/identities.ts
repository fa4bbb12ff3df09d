/** What makes guests the same on another host, and whether they run: as far as it is known without asking each of them. */

import { readFile } from 'node:fs/promises'
import type { Guest } from '../../jobs/guests/guest.ts'
import { runningGuests } from '../../jobs/guests/processes.ts'
import { Virsh } from '../../protocol/libvirt/virsh.ts'

export interface Identity {
  identity: string | null
  running: boolean | null
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

const UNKNOWN: Identity = { identity: null, running: null }

/** Looks at all guests of a host together: libvirt and the processes are asked once. */
export async function identitiesOf(guests: readonly Guest[], signal: AbortSignal): Promise<Map<Guest, Identity>> {
  const uris = new Set(guests.flatMap(({ source }) => (source.kind === 'libvirt' ? [source.connect] : [])))
  const domains = new Map<string | undefined, Awaited<ReturnType<typeof domainsOf>>>()
  for (const uri of uris) domains.set(uri, await domainsOf(uri, signal))
  const processes = guests.some(({ source }) => 'socket' in source || 'control' in source) ? await runningGuests() : []
  const found = new Map<Guest, Identity>()
  for (const guest of guests) {
    const { source } = guest
    if (source.kind === 'libvirt') found.set(guest, domains.get(source.connect)!.get(source.domain) ?? UNKNOWN)
    else if (source.kind === 'proxmox') found.set(guest, { identity: await uuidOfProxmox(source.id), running: null })
    else if (source.kind === 'drives') found.set(guest, UNKNOWN)
    else {
      const path = source.kind === 'qmp' ? source.socket : source.control
      const process = processes.find(({ sockets }) => sockets.includes(path))
      // Anybody of the host may start a process of that name with any words.
      const identity = UUID.test(process?.uuid ?? '') ? process!.uuid!.toLowerCase() : null
      found.set(guest, { identity, running: process !== undefined })
    }
  }
  return found
}

async function domainsOf(uri: string | undefined, signal: AbortSignal): Promise<Map<string, Identity>> {
  const virsh = new Virsh(uri, signal)
  try {
    const [all, active] = await Promise.all([virsh.domains(), virsh.domains({ active: true })])
    const running = new Set(active.map(({ uuid }) => uuid))
    return new Map(all.map(({ uuid, name }) => [name, { identity: uuid, running: running.has(uuid) }]))
  } catch {
    signal.throwIfAborted()
    return new Map() // Those who look for guests tell why.
  }
}

async function uuidOfProxmox(id: number): Promise<string | null> {
  const config = await readFile(`/etc/pve/qemu-server/${id}.conf`, 'utf8').catch(() => '')
  return /^smbios1:.*\buuid=([0-9a-fA-F-]{36})/m.exec(config)?.[1].toLowerCase() ?? null
}
