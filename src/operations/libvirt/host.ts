/** What the libvirt of this host has: domains, pools, firmware. */

import { VmapipeError } from '../../core/errors.ts'
import type { Domain } from '../../machine/libvirt/domain.ts'
import { attribute, children, content, find, parseXml, remove } from '../../machine/libvirt/xml.ts'
import type { DomainEntry, Virsh } from '../../protocol/libvirt/virsh.ts'

/** Pools whose volumes are files in a folder. */
const FOLDER_POOLS = ['dir', 'fs', 'netfs']

/** The folder of a pool, which must be active. Throws FAILED for pools of other kinds. */
export async function poolFolder(virsh: Virsh, pool: string): Promise<string> {
  const text = await virsh.run('pool-dumpxml', `--pool=${pool}`).catch((error) => {
    if (!(error instanceof VmapipeError) || !/no storage pool|not found|failed to get pool/i.test(error.message))
      throw error
    const hint = 'name another pool (--pool), or a folder: vmapipe restore ARCHIVE DIR --define'
    throw new VmapipeError('FAILED', `libvirt has no storage pool '${pool}'`, { hint, cause: error })
  })
  const root = parseXml(text, 'pool', `the XML of the pool ${pool}`).documentElement!
  const type = attribute(root, 'type') ?? ''
  const path = content(find(root, 'target', 'path'))
  if (FOLDER_POOLS.includes(type) && path !== undefined) return path
  throw new VmapipeError('FAILED', `the pool '${pool}' is of the kind '${type}': its volumes are no files`, {
    hint: 'name a pool of the kind dir, fs or netfs, or a folder',
  })
}

interface Offered {
  emulator: string | undefined
  loaders: readonly string[]
}

/**
 * The emulator and the firmware that libvirt has for such a domain. If the host has no KVM, the domain becomes one that QEMU emulates,
 * and the user is told.
 */
export async function offered(virsh: Virsh, domain: Domain, warn: (message: string) => void): Promise<Offered> {
  const { os, root, type } = domain
  const arch = attribute(os && find(os, 'type'), 'arch')
  const ask = (virttype: string) =>
    virsh.run('domcapabilities', `--virttype=${virttype}`, ...(arch ? [`--arch=${arch}`] : []))
  const text = await ask(type).catch(async (error) => {
    if (type !== 'kvm' || (error as VmapipeError).code === 'ABORTED') throw error
    const emulated = await ask('qemu').catch(() => {
      throw error
    })
    warn('this host has no KVM: the domain is emulated')
    root.setAttribute('type', 'qemu')
    const cpu = find(root, 'cpu')
    if (cpu !== undefined && attribute(cpu, 'mode')?.startsWith('host')) remove(cpu)
    return emulated
  })
  const capabilities = parseXml(text, 'domainCapabilities', 'the answer to domcapabilities').documentElement!
  const loader = find(capabilities, 'os', 'loader')
  return {
    emulator: content(find(capabilities, 'path')),
    loaders: loader ? children(loader, 'value').flatMap((value) => content(value) ?? []) : [],
  }
}

interface Identity {
  name: string
  uuid: string
}

/**
 * The domain that a restore would replace; null if there is none. Throws FAILED if it must not be replaced: without `force`, while it
 * runs, or if it has a state that belongs to its present disks.
 */
export async function replaced(virsh: Virsh, { name, uuid }: Identity, force: boolean): Promise<DomainEntry | null> {
  const domains = await virsh.domains()
  const [byName, byUuid] = [domains.find((one) => one.name === name), domains.find((one) => one.uuid === uuid)]
  if (byName === undefined && byUuid === undefined) return null
  if (byUuid !== undefined && byUuid.name !== name)
    throw new VmapipeError('FAILED', `the domain '${byUuid.name}' has the uuid ${uuid} of this guest`, {
      hint: 'a copy beside it needs another: --new-uuid, and --new-mac for its network',
    })
  if (byName !== undefined && byName.uuid !== uuid)
    throw new VmapipeError('FAILED', `there is another domain '${name}', of the uuid ${byName.uuid}`, {
      hint: 'name this one otherwise (--new-name), or rename that one (virsh domrename)',
    })
  if (!force)
    throw new VmapipeError('FAILED', `there is a domain '${name}' already`, {
      hint: 'restore a copy beside it: --new-name NAME --new-uuid --new-mac; or replace it: --force',
    })
  if (await virsh.isActive(uuid))
    throw new VmapipeError('FAILED', `the domain '${name}' runs`, {
      hint: `shut it down first: virsh shutdown ${name}`,
    })
  await refuseWithState(virsh, { name, uuid })
  return byName!
}

/** Snapshots and saved memory are of the disks as they are. */
async function refuseWithState(virsh: Virsh, { name, uuid }: Identity): Promise<void> {
  const refuse = (what: string, hint: string): never => {
    throw new VmapipeError('FAILED', `the domain '${name}' has ${what}, of the disks that it has now`, { hint })
  }
  if (/^Managed save:\s*yes/m.test(await virsh.run('dominfo', `--domain=${uuid}`)))
    refuse('a saved state', `virsh managedsave-remove ${name} drops it`)
  if ((await virsh.run('snapshot-list', `--domain=${uuid}`, '--name')).trim() !== '')
    refuse('snapshots', `virsh snapshot-delete ${name} --metadata drops what libvirt knows of them`)
  if ((await virsh.run('checkpoint-list', `--domain=${uuid}`, '--name')).trim() !== '')
    refuse('checkpoints', `virsh checkpoint-delete ${name} --metadata drops what libvirt knows of them`)
}

/** Whether libvirt has a domain of this uuid whose definition names the path. */
export async function definitionNames(virsh: Virsh, uuid: string, path: string): Promise<boolean> {
  if (!(await virsh.domains()).some((domain) => domain.uuid === uuid)) return false
  const xml = await virsh.run('dumpxml', `--domain=${uuid}`, '--inactive')
  const root = parseXml(xml, 'domain', 'the XML of the domain').documentElement!
  const places = children(find(root, 'devices')!, 'disk').map((disk) => attribute(find(disk, 'source'), 'file'))
  return [...places, content(find(root, 'os', 'nvram'))].includes(path)
}
