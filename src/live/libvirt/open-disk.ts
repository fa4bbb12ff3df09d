/** Opens a disk of a shut-off guest as the domain's XML describes it: its source, its format, and what is below it. */

import { stat } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { DomainDisk } from '../../machine/libvirt/domain.ts'
import { attribute, children, type Element, find } from '../../machine/libvirt/xml.ts'
import type { Virsh } from '../../protocol/libvirt/virsh.ts'
import type { DriveReader } from '../../storage/drive.ts'
import { openNodeReader } from '../../storage/image-drive.ts'
import { openDriveReader } from '../../storage/open.ts'
import { chainNode, imageChain, isElsewhere, knownFormat } from './image-chain.ts'

interface Opening {
  virsh: Virsh
  signal?: AbortSignal | undefined
  inform(message: string): void
  warn(message: string): void
}

/** Throws FAILED, with the target of the disk, for a source that cannot be read while the guest is off. */
export async function openDomainDisk(disk: DomainDisk, opening: Opening): Promise<DriveReader> {
  try {
    return await opened(disk, opening)
  } catch (error) {
    const failure = asVmapipeError(error)
    failure.where.drive ??= disk.target
    throw failure
  }
}

async function opened({ element, source, type, format, target }: DomainDisk, opening: Opening): Promise<DriveReader> {
  if (source === undefined) throw unreadable(target, 'has no source')
  for (const [child, what] of [
    ['encryption', 'is encrypted by libvirt'],
    ['slices', 'is a part of an image'],
  ])
    if (find(source, child) ?? find(element, child)) throw unreadable(target, what)
  if (type === 'network') return openNetwork(source, { format, target }, opening)
  const path = await pathOf(source, type, target, opening.virsh)
  return openLocal(path, { format, target, store: find(element, 'backingStore') }, opening)
}

async function pathOf(source: Element, type: string, target: string, virsh: Virsh): Promise<string> {
  const [pool, volume] = [attribute(source, 'pool'), attribute(source, 'volume')]
  const path =
    type === 'file'
      ? attribute(source, 'file')
      : type === 'block'
        ? attribute(source, 'dev')
        : type === 'volume' && pool !== undefined && volume !== undefined
          ? (await virsh.run('vol-path', `--pool=${pool}`, `--vol=${volume}`)).trim()
          : undefined
  if (path?.startsWith('/')) return path
  throw unreadable(target, `is of the kind '${type}', which only the guest's QEMU can read`)
}

interface Local {
  format: string
  target: string
  store: Element | undefined
}

/** Opens an image, or a device. */
export async function openLocal(
  path: string,
  { format, target, store }: Local,
  { signal, inform, warn }: Omit<Opening, 'virsh'>,
): Promise<DriveReader> {
  const own = { path, format: knownFormat(format, path) }
  // Takes our own way, which also finds loop devices.
  if (own.format === 'raw') return openDriveReader(`raw:${path}`, { ...(signal && { signal }) })
  await stat(path).catch((cause) => {
    throw asVmapipeError(cause, { file: path })
  })
  const chain = await imageChain(own, store, signal)
  for (const [index, link] of chain.slice(1).entries()) {
    const tell = isElsewhere(link, chain[index]) ? warn : inform
    tell(`${target} is read with the image below it, '${link.path}' (${link.format})`)
  }
  return openNodeReader(await chainNode(chain), { format: own.format, path, signal })
}

async function openNetwork(
  source: Element,
  { format, target }: { format: string; target: string },
  { signal }: Opening,
): Promise<DriveReader> {
  const protocol = attribute(source, 'protocol')
  const name = attribute(source, 'name') ?? ''
  const hosts = children(source, 'host')
  if (format !== 'raw') throw unreadable(target, `has the format ${format} on a server`)
  if (protocol === 'nbd' && hosts.length === 1 && attribute(source, 'tls') !== 'yes') {
    const [host] = hosts
    const socket = attribute(host, 'socket')
    const address = encodeURIComponent(name).replaceAll('%2F', '/')
    const uri =
      attribute(host, 'transport') === 'unix' && socket !== undefined
        ? `nbd+unix:///${address}?socket=${encodeURIComponent(socket)}`
        : `nbd://${bracketed(attribute(host, 'name') ?? 'localhost')}:${attribute(host, 'port') ?? 10809}/${address}`
    return openDriveReader(uri, { ...(signal && { signal }) })
  }
  if (protocol === 'rbd') return openRbd(source, name, { hosts, signal })
  throw unreadable(target, `is on a server of the kind '${protocol}', which only the guest's QEMU can read`)
}

/** By the block driver of QEMU, with the keyring of the host: the secret of libvirt is not asked for. */
async function openRbd(
  source: Element,
  name: string,
  { hosts, signal }: { hosts: readonly Element[]; signal: AbortSignal | undefined },
): Promise<DriveReader> {
  const slash = name.indexOf('/')
  const server = hosts.map((host) => ({ host: attribute(host, 'name') ?? '', port: attribute(host, 'port') ?? '6789' }))
  const auth = find(source, 'auth')
  const conf = attribute(find(source, 'config'), 'file')
  const snapshot = attribute(find(source, 'snapshot'), 'name')
  const file = {
    ...{ driver: 'rbd', pool: name.slice(0, Math.max(0, slash)), image: name.slice(slash + 1) },
    ...(server.length > 0 && { server }),
    ...(attribute(auth, 'username') && { user: attribute(auth, 'username') }),
    ...(conf && { conf }),
    ...(snapshot && { snapshot }),
  }
  return openNodeReader({ driver: 'raw', file }, { format: 'raw', path: `rbd:${name}`, signal }).catch((error) => {
    const failure = asVmapipeError(error)
    if (!/Unknown driver/.test(failure.message)) throw failure
    throw new VmapipeError('FAILED', "QEMU's block driver for rbd is not installed", {
      hint: 'Debian and Ubuntu: apt install qemu-block-extra',
    })
  })
}

function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}

function unreadable(target: string, reason: string): VmapipeError {
  const hint = `back it up while the guest runs, or leave it out: --exclude ${target}`
  return new VmapipeError('FAILED', `the disk ${target} ${reason}`, { hint })
}
