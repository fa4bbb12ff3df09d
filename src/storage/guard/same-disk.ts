/** Finds drives that are one disk under two names. Two writers of one disk would destroy each other's data. */

import { lookup } from 'node:dns/promises'
import type { Stats } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import type { NbdAddress } from '../../protocol/nbd/uri.ts'
import { parseDriveSpec } from '../spec.ts'
import { listenerOf } from './listening-socket.ts'
import { backingFile } from './loop-devices.ts'

/** Throws USAGE if two of the drives are one disk. Each is given by its name and its spec. */
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

/** The identities of a disk. Two drives with a common identity are one disk. */
async function identitiesOf(spec: string): Promise<string[]> {
  const drive = parseDriveSpec(spec)
  return drive.kind === 'nbd' ? exportIdentities(drive.address) : pathIdentities(drive.path)
}

/** The device and inode of a file, and of the file of a loop device. A new file is identified by its path. */
async function pathIdentities(path: string): Promise<string[]> {
  const stats = await lookAt(path)
  if (stats === null) return [`path ${join(await realFolder(path), basename(path))}`]
  const behind = await backingFile(stats)
  const deeper = behind === null || behind === path ? [] : await pathIdentities(behind)
  return [identityOf(stats), ...deeper]
}

/** The identities of an NBD export. */
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
