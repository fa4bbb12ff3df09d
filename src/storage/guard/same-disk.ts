/** Whether two drives are one disk, whatever they are called: two writers of one disk destroy what each of them wrote. */

import { lookup } from 'node:dns/promises'
import type { Stats } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import type { NbdAddress } from '../../protocol/nbd/uri.ts'
import { parseDriveSpec } from '../spec.ts'
import { listenerOf } from './listening-socket.ts'
import { backingFile } from './loop-devices.ts'

/** Throws USAGE if two of the drives, each a name and what people call the drive, are one disk. */
export async function refuseOneDiskTwice(drives: Iterable<readonly [name: string, spec: string]>): Promise<void> {
  const seen = new Map<string, string>()
  for (const [name, spec] of drives) {
    const identities = await identitiesOf(spec)
    const other = identities.map((identity) => seen.get(identity)).find((found) => found !== undefined)
    if (other !== undefined) {
      throw new VmapipeError('USAGE', `the drives ${other} and ${name} are one and the same disk`, {
        file: spec,
        hint: 'give each disk once',
      })
    }
    for (const identity of identities) seen.set(identity, name)
  }
}

/** All that tells the disk from others; two disks that share any of it are one. */
async function identitiesOf(spec: string): Promise<string[]> {
  const drive = parseDriveSpec(spec)
  return drive.kind === 'nbd' ? exportIdentities(drive.address) : pathIdentities(drive.path)
}

/** By device and inode, also of the file behind a loop device. What is not there yet is told by its path. */
async function pathIdentities(path: string): Promise<string[]> {
  const stats = await lookAt(path)
  if (stats === null) return [`path ${join(await realFolder(path), basename(path))}`]
  const behind = await backingFile(stats)
  const deeper = behind === null || behind === path ? [] : await pathIdentities(behind)
  return [identityOf(stats), ...deeper]
}

/** The same of an NBD export. */
export async function exportIdentities(address: NbdAddress): Promise<string[]> {
  const suffix = JSON.stringify(address.exportName)
  if ('socketPath' in address) {
    const stats = await lookAt(address.socketPath)
    return [`socket ${stats === null ? resolve(address.socketPath) : identityOf(stats)} ${suffix}`]
  }
  const { host, port } = address
  const found = await lookup(host, { all: true }).catch(() => [{ address: host.toLowerCase() }])
  const addresses = found.map(({ address }) => address.replace(/^::ffff:(?=[\d.]+$)/i, ''))
  const servers = await Promise.all(addresses.map(async (one) => [one, await listenerOf(one, port)]))
  return servers.flat().flatMap((server) => (server === null ? [] : [`tcp ${server} ${port} ${suffix}`]))
}

function identityOf(stats: Stats): string {
  return stats.isBlockDevice() ? `device ${stats.rdev}` : `${stats.dev}:${stats.ino}`
}

function realFolder(path: string): Promise<string> {
  const folder = dirname(resolve(path))
  return realpath(folder).catch(() => folder)
}

async function lookAt(path: string): Promise<Stats | null> {
  return stat(path).catch(() => null)
}
