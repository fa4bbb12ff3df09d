/** Where the images of a guest of Proxmox are that is switched off. */

import { stat } from 'node:fs/promises'
import { VmapipeError } from '../../core/errors.ts'
import type { ProxmoxDrive } from '../../machine/proxmox/drives.ts'
import { findVolume, ownerOf, parseStorages, parseVolume, type Storages } from '../../machine/proxmox/storage.ts'
import { readSmallFile } from '../../storage/config-file.ts'
import type { ProxmoxGuest } from './guest.ts'
import type { BackupProxmoxOptions } from './options.ts'
import { placesOf } from './places.ts'

export interface FoundImage {
  drive: ProxmoxDrive
  /** As `--drive` takes it. */
  spec: string
  format: string
  storage: string
}

const MOST_BYTES = 1 << 20

/**
 * The image of each drive: the one that the user names, else the one that the config does. Throws FAILED if one cannot be found, or if a
 * config that is not the host's own names what belongs to others.
 */
export async function findImages(
  drives: readonly ProxmoxDrive[],
  guest: ProxmoxGuest,
  { drives: named = {}, storages }: BackupProxmoxOptions,
): Promise<FoundImage[]> {
  const known = await readStorages(storages ?? placesOf(guest.vmid).storages)
  const images: FoundImage[] = []
  for (const drive of drives) {
    const given = named[drive.key] ?? named[drive.archiveName]
    images.push(given === undefined ? await find(drive, guest, known) : givenImage(drive, given))
  }
  return images
}

function givenImage(drive: ProxmoxDrive, spec: string): FoundImage {
  const [, format = 'raw'] = /^(qcow2|vmdk):/.exec(spec) ?? []
  return { drive, spec, format, storage: parseVolume(drive.volume)?.storage ?? '' }
}

async function find(drive: ProxmoxDrive, guest: ProxmoxGuest, storages: Storages): Promise<FoundImage> {
  const { key, volume } = drive
  if (volume.startsWith('/')) return atPath(drive, guest)
  const found = findVolume(volume, storages, key)
  const owner = ownerOf(parseVolume(volume)!.name)
  if (!guest.isTrusted && owner !== guest.vmid) {
    throw new VmapipeError('FAILED', `${key} is the volume '${volume}', which is none of guest ${guest.vmid}`, {
      hint: `if the guest may read it, name it: --drive ${key}=PATH`,
    })
  }
  if ((await stat(found.path).catch(() => null)) === null) throw missing(key, found.path)
  const spec = found.format === 'raw' ? found.path : `${found.format}:${found.path}`
  return { drive, spec, format: found.format, storage: found.storage }
}

/** A disk of the host that is passed through. */
async function atPath(drive: ProxmoxDrive, { isTrusted }: ProxmoxGuest): Promise<FoundImage> {
  const { key, volume } = drive
  const isDevice = volume.startsWith('/dev/') && !volume.split('/').includes('..')
  if (isTrusted && isDevice && (await stat(volume).catch(() => null))?.isBlockDevice())
    return { drive, spec: volume, format: 'raw', storage: '' }
  throw new VmapipeError('FAILED', `${key} is a file of the host by its path, '${volume}', which is not followed`, {
    hint: `name it yourself, --drive ${key}=PATH, or leave it out, --exclude ${key}`,
  })
}

function missing(key: string, path: string): VmapipeError {
  const [, volume] = /^\/dev\/(?!zvol\/)([^/]+\/[^/]+)$/.exec(path) ?? []
  return new VmapipeError('FAILED', `the image of ${key} is not there`, {
    file: path,
    hint: volume === undefined ? 'is its storage mounted?' : `is the volume active? lvchange -ay ${volume}`,
  })
}

/** Without the file, only images that the user names can be found. */
async function readStorages(file: string): Promise<Storages> {
  const data = await readSmallFile(file, MOST_BYTES).catch(() => Buffer.alloc(0))
  if (data.length > MOST_BYTES) throw new VmapipeError('FAILED', 'this is no storage.cfg: it is too long', { file })
  return parseStorages(data.toString())
}
