/**
 * Runs a pipeline with a guest of libvirt: through its QEMU if it runs, else from its images. The archive has the same drives under
 * the same names in both cases, and says what the domain is.
 */

import { stat } from 'node:fs/promises'
import { VmapipeError } from '../../core/errors.ts'
import type { BoundStage, SurroundedRun } from '../../core/stage.ts'
import { driveNameOf } from '../../machine/drive-name.ts'
import { Domain, VARIABLES_DRIVE } from '../../machine/libvirt/domain.ts'
import { attribute, content, find } from '../../machine/libvirt/xml.ts'
import { Virsh } from '../../protocol/libvirt/virsh.ts'
import { namedConfigs } from '../../stages/cluster-source/config-files.ts'
import type { GuestOptions } from '../guest/options.ts'
import type { GuestParts } from '../guest/parts.ts'
import { runWithQemu } from '../guest/qemu.ts'
import type { QemuDrive } from '../qemu/inventory/discovery.ts'
import { descriptionFiles } from './description.ts'
import { shutOffDrives, shutOffStages } from './shut-off.ts'

export async function runWithLibvirt<Result>(
  given: GuestOptions & { libvirt: string },
  parts: GuestParts,
  run: SurroundedRun<Result>,
): Promise<Result> {
  const virsh = new Virsh(given.connect, run.signal)
  const uuid = (await virsh.run('domuuid', `--domain=${given.libvirt}`)).trim()
  const xml = await virsh.run('dumpxml', `--domain=${uuid}`, '--inactive')
  const domain = Domain.parse(xml, `the XML of the domain ${given.libvirt}`)
  const isRunning = await virsh.isActive(uuid)
  const options = byDriveName(given, domain)
  const describe = (drives: ReadonlyMap<string, string>, hasVariables: boolean) =>
    descriptionFiles({ xml, domain, drives, hasVariables, isRunning, warn: run.warn })
  if (isRunning) {
    const variables = await runningVariables({ virsh, uuid, domain, options })
    const running = withoutTransient(options, domain)
    const pushed =
      variables === null
        ? running
        : {
            ...running,
            exclude: [...running.exclude, VARIABLES_DRIVE],
            beside: { ...running.beside, [VARIABLES_DRIVE]: variables },
          }
    return runWithQemu(pushed, parts, run, (chosen) => {
      const drives = domain.disks.flatMap(({ target, drive }) => {
        const found = chosen.find((one) => driveOf(one) === drive)
        return found === undefined ? [] : [[target, found.name] as const]
      })
      const hasFlash = chosen.some(({ qomPath }) => qomPath === VARIABLES_FLASH)
      return describe(new Map(drives), variables !== null || hasFlash)
    })
  }
  refuseOfRunning(given)
  await warnOfManagedSave(virsh, uuid, run.warn)
  run.inform?.(`the domain ${domain.name} is shut off: its images are read`)
  options.listener?.name?.(`guest of libvirt domain ${domain.name}, which is shut off`)
  const drives = await shutOffDrives(domain, options, {
    virsh,
    signal: run.signal,
    warn: run.warn,
    inform: (text) => run.inform?.(text),
  })
  try {
    const files = await describe(drives.byTarget, drives.hasVariables)
    const configs = { ...files, ...(Object.fromEntries(namedConfigs(options.configs)) as typeof files) }
    const stages: BoundStage[] = shutOffStages(drives, { configs, options, parts })
    return await run.run(stages, run.signal)
  } finally {
    // The stage that reads them closes them too. It may never have been opened.
    for (const reader of Object.values(drives.readers)) await reader.close()
  }
}

/** The flash that QEMU's machines have for the variables of UEFI. */
const VARIABLES_FLASH = '/machine/system.flash1'

interface Running {
  virsh: Virsh
  uuid: string
  domain: Domain
  options: GuestOptions
}

/**
 * The place of UEFI's variables of a guest that runs. QEMU cannot guard the flash that has them, and would guard no other drive either. The
 * firmware writes them so that what it had begun can be told from what is done. Null: it is left to QEMU.
 */
async function runningVariables({ virsh, uuid, domain, options }: Running): Promise<string | null> {
  const arch = attribute(domain.os && find(domain.os, 'type'), 'arch')
  const isWanted = options.drives === undefined && !options.exclude.includes(VARIABLES_DRIVE) && options.mode !== 'push'
  if (!domain.isUefi || arch !== 'x86_64' || !isWanted) return null
  const { nvram } = Domain.parse(await virsh.run('dumpxml', `--domain=${uuid}`), 'the XML of the domain')
  const path = content(nvram)
  if (!path?.startsWith('/') || (attribute(nvram, 'type') ?? 'file') !== 'file') return null
  const isThere = (await stat(path).catch(() => null))?.isFile() ?? false
  return isThere ? `raw:${path}` : null
}

/** The name that the drive has by default, whatever the user calls it. */
function driveOf({ id, name }: QemuDrive): string {
  return id === null ? name : driveNameOf(id)
}

/** Names of disks as libvirt has them ("vdb") become those of drives. */
function byDriveName<T extends GuestOptions>(options: T, { disks }: Domain): T {
  const names = new Map(disks.map(({ target, drive }) => [target, drive]))
  const named = (name: string) => names.get(name) ?? name
  const { drives, exclude } = options
  return { ...options, exclude: exclude.map(named), ...(Array.isArray(drives) && { drives: drives.map(named) }) }
}

/** What a guest writes to a transient disk is dropped when it ends. */
function withoutTransient<T extends GuestOptions>(options: T, { disks }: Domain): T {
  if (options.drives !== undefined) return options
  const transient = disks
    .filter(({ isTransient, device }) => isTransient && device === 'disk')
    .map(({ drive }) => drive)
  return { ...options, exclude: [...new Set([...options.exclude, ...transient])] }
}

function refuseOfRunning(options: GuestOptions): void {
  if (options['with-ram'])
    throw new VmapipeError('USAGE', 'the domain is shut off, and has no memory to back up', {
      hint: 'leave --with-ram out',
    })
}

async function warnOfManagedSave(virsh: Virsh, uuid: string, warn: (message: string) => void): Promise<void> {
  if (!/^Managed save:\s*yes/m.test(await virsh.run('dominfo', `--domain=${uuid}`))) return
  warn(
    'the domain has a saved state (virsh managedsave): its memory is not in the archive, and the disks are as after a power failure',
  )
}
