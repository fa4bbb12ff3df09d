/**
 * Where the volumes of a guest are on its host, by `/etc/pve/storage.cfg`. A volume is `STORAGE:NAME`; what its name means depends on
 * the kind of storage.
 */

import { VmapipeError } from '../../core/errors.ts'

interface Storage {
  kind: string
  properties: ReadonlyMap<string, string>
}

export type Storages = ReadonlyMap<string, Storage>

/** An image, as an argument of `--drive`: its format and its path. */
export interface FoundVolume {
  format: 'raw' | 'qcow2' | 'vmdk'
  path: string
  storage: string
}

/** Kinds of storage with images as files below a folder. */
const FOLDERS = ['dir', 'nfs', 'cifs', 'cephfs', 'glusterfs', 'btrfs']
/** One part of a path or the name of a volume: never `.` or `..`, and nothing that a shell or QEMU would read otherwise. */
const PART = /^(?!\.{1,2}$)[A-Za-z0-9_.+-]+$/

export function parseStorages(text: string): Storages {
  const storages = new Map<string, { kind: string; properties: Map<string, string> }>()
  let current: Map<string, string> | null = null
  for (const line of text.split('\n')) {
    const [, kind, id] = /^([a-z]+):\s*(\S+)\s*$/.exec(line) ?? []
    if (kind !== undefined) {
      current = new Map()
      storages.set(id, { kind, properties: current })
      continue
    }
    const [, key, value = ''] = /^\s+(\S+)(?:\s+(.*?))?\s*$/.exec(line) ?? []
    if (key !== undefined) current?.set(key, value)
  }
  return storages
}

/** Reads `STORAGE:NAME`; null if it is a path, or nothing. */
export function parseVolume(volume: string): { storage: string; name: string } | null {
  const [, storage, name] = /^([A-Za-z][A-Za-z0-9_.-]*):(.+)$/.exec(volume) ?? []
  return storage === undefined ? null : { storage, name }
}

/** The number of the guest whose volume this is by its name; null if the name does not tell. */
export function ownerOf(name: string): number | null {
  const [, vmid] = /(?:^|\/)(?:vm|base|subvol)-(\d+)-[^/]*$/.exec(name) ?? []
  return vmid === undefined ? null : Number(vmid)
}

/** Throws FAILED if this volume can only be named by the user. `key`: that of the drive in the config. */
export function findVolume(volume: string, storages: Storages, key: string): FoundVolume {
  const parsed = parseVolume(volume)
  if (parsed === null) throw unknown(key, `'${volume}' is no volume of a storage`)
  const storage = storages.get(parsed.storage)
  if (storage === undefined) throw unknown(key, `the storage '${parsed.storage}' is not in storage.cfg`)
  // A linked clone is named with its base before it.
  const parts = parsed.name.split('/')
  if (!parts.every((part) => PART.test(part))) throw unknown(key, `'${parsed.name}' is no name of a volume`)
  const path = pathOf(storage, parts)
  if (path === null) throw unknown(key, `it is on '${parsed.storage}', a storage of the kind ${storage.kind}`)
  return { format: formatOf(parts.at(-1)!), path, storage: parsed.storage }
}

function pathOf({ kind, properties }: Storage, parts: readonly string[]): string | null {
  const name = parts.at(-1)!
  const group = (key: string) => {
    const value = properties.get(key)
    return value?.split('/').every((part) => PART.test(part)) ? value : null
  }
  if (FOLDERS.includes(kind)) {
    const [, images = 'images'] = /(?:^|,)images=([^,]+)/.exec(properties.get('content-dirs') ?? '') ?? []
    const folder = properties.get('path')
    // In a folder, volumes are named with the number of their guest.
    if (folder === undefined || !folder.startsWith('/') || parts.length < 2) return null
    return `${folder.replace(/\/+$/, '')}/${images}/${parts.at(-2)}/${name}`
  }
  if (kind === 'lvm' || kind === 'lvmthin') {
    const volumes = group('vgname')
    return volumes === null || volumes.includes('/') ? null : `/dev/${volumes}/${name}`
  }
  if (kind === 'zfspool') {
    const pool = group('pool')
    return pool === null ? null : `/dev/zvol/${pool}/${name}`
  }
  return null
}

function formatOf(name: string): FoundVolume['format'] {
  const [, format] = /\.(qcow2|vmdk)$/.exec(name) ?? []
  return (format as FoundVolume['format'] | undefined) ?? 'raw'
}

function unknown(key: string, why: string): VmapipeError {
  return new VmapipeError('FAILED', `the image of ${key} cannot be found: ${why}`, {
    hint: `say where it is, --drive ${key}=PATH, or leave it out, --exclude ${key}`,
  })
}
