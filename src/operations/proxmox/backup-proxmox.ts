/** Backs up a guest of Proxmox as its own vzdump does: config, drives, names and notes are such that `qmrestore` takes the archive. */

import { access, constants } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { checkOptions } from '../../core/options.ts'
import { GUEST_JSON } from '../../machine/machine.ts'
import { archivedConfig } from '../../machine/proxmox/archived-config.ts'
import { PROXMOX_CONFIG, PROXMOX_FIREWALL } from '../../machine/proxmox/config.ts'
import type { ProxmoxDrive } from '../../machine/proxmox/drives.ts'
import { machineOfProxmox } from '../../machine/proxmox/machine-of-config.ts'
import type { MapLine } from '../../machine/proxmox/map-lines.ts'
import { isOff, isOn, parseProperties } from '../../machine/proxmox/properties.ts'
import { parseVolume } from '../../machine/proxmox/storage.ts'
import { plannedBackup } from '../backup.ts'
import { plannedGuestBackup } from '../backup-guest.ts'
import { askInventory } from '../drives.ts'
import { boundStages, type PlannedStage } from '../plan.ts'
import { type BackupResult, runBackup } from '../run-backup.ts'
import { noteLog, writeBeside } from './beside.ts'
import { exists, type ProxmoxGuest, readGuest } from './guest.ts'
import { findImages } from './images.ts'
import { notesFor } from './notes.ts'
import { type BackupProxmoxOptions, proxmoxShape } from './options.ts'
import { isRunning, placesOf } from './places.ts'
import { matchDrives } from './qemu-drives.ts'
import { namedTargets } from './targets.ts'

export type { BackupProxmoxOptions } from './options.ts'

/**
 * Backs up a guest of this host, running or not, by its config. A target that ends in `/` gets an archive with a name of Proxmox's, and
 * notes and a log beside it. Resolves when the archive is complete and durable. Errors: USAGE, FAILED, INCOMPLETE, ABORTED.
 *
 *     const { places } = await backupProxmox({ vmid: 100, to: '/var/lib/vz/dump/' })
 *     console.log(places[0])
 */
export async function backupProxmox(given: BackupProxmoxOptions): Promise<BackupResult> {
  checkOptions('backupProxmox', { shape: proxmoxShape, required: ['vmid', 'to'] }, given)
  const log = noteLog(given)
  const { plan, options, notes } = await plannedProxmox({ ...given, ...log.options }, log.say)
  const result = await runBackup(boundStages(plan), options)
  log.say('the archive is complete')
  await writeBeside(result.places, { notes, log: log.text(), warn: given.warn })
  return result
}

interface PlannedProxmox {
  plan: PlannedStage[]
  /** Those that the plan was made for: with the names of archives in them. */
  options: BackupProxmoxOptions
  /** For the file beside the archive. */
  notes: string
}

/** Looks at the guest, and makes the stages of its backup. `say` takes lines for the log. Errors: USAGE, FAILED, ABORTED. */
export async function plannedProxmox(
  given: BackupProxmoxOptions,
  say: (line: string) => void = () => {},
): Promise<PlannedProxmox> {
  const guest = await readGuest(given)
  const notes = await notesFor(guest, given.notes)
  const options = { guest: `proxmox:${guest.vmid}`, ...namedTargets(given, guest.vmid) }
  say(`backup of guest ${guest.vmid}${guest.name === null ? '' : ` (${guest.name})`}`)
  for (const { drive, reason } of guest.leftOut) say(`${drive.key} ${reason}: left out`)
  for (const section of guest.config.sections) say(`the section [${section}] of the config is left out`)
  const plan = (await isRunning(guest.vmid, options.qmp)) ? await running(guest, options) : await atRest(guest, options)
  return { plan, options, notes }
}

async function atRest(guest: ProxmoxGuest, options: BackupProxmoxOptions): Promise<PlannedStage[]> {
  const images = await findImages(guest.wanted, guest, options)
  const map = images.map(({ drive, format, storage }) => mapOf(drive, format, storage))
  const described = `${JSON.stringify(machineOfProxmox(guest.config), null, 2)}\n`
  return plannedBackup(
    { ...options, drives: Object.fromEntries(images.map(({ drive, spec }) => [drive.archiveName, spec])) },
    { ...(await contentsOf(guest, map, options)), [GUEST_JSON]: new Uint8Array(Buffer.from(described)) },
  )
}

async function running(guest: ProxmoxGuest, options: BackupProxmoxOptions): Promise<PlannedStage[]> {
  const { signal, warn = () => {} } = options
  const places = placesOf(guest.vmid)
  const { qmp = places.qmp } = options
  const inQemu = guest.wanted.filter(({ key }) => key !== 'tpmstate0')
  const named = inQemu.find(({ key, archiveName }) => options.drives?.[key] ?? options.drives?.[archiveName])
  if (named !== undefined) {
    throw new VmapipeError(
      'USAGE',
      `guest ${guest.vmid} runs: ${named.key} is read from its QEMU, and not from an image`,
      {
        hint: `leave --drive ${named.key} out`,
      },
    )
  }
  const { names, formats } = matchDrives(inQemu, guest, await askInventory({ qmp, shared: true }, { signal }), warn)
  const beside = await tpmState(guest, options)
  const map = [
    ...inQemu.map((drive) => mapOf(drive, formats.get(drive.key) ?? 'raw', storageOf(drive))),
    ...beside.map(({ drive, format, storage }) => mapOf(drive, format, storage)),
  ]
  const contents = await contentsOf(guest, map, options)
  const others = Object.fromEntries(beside.map(({ drive, spec }) => [drive.archiveName, spec]))
  if (inQemu.length === 0) return plannedBackup({ ...options, drives: others, forceShare: true }, contents)
  const { mode, fsfreeze, maxStall, track, socketDir } = options
  return plannedGuestBackup(
    {
      ...options,
      qmp,
      sharedMonitor: true,
      exclude: [],
      ...agentOf(guest, options),
      ...{ mode, fsfreeze, maxStall, track, socketDir },
      drives: names,
    },
    { contents, beside: others },
  )
}

/** The agent is asked if the config says that there is one; whether it may freeze is said there too. */
function agentOf({ config, vmid }: ProxmoxGuest, { agent, fsfreeze }: BackupProxmoxOptions) {
  if (agent !== undefined) return { agent }
  const { plain, named } = parseProperties(config.values.get('agent') ?? '0')
  const mayFreeze = !isOff(named.get('freeze-fs-on-backup') ?? named.get('freeze-fs'))
  if (!isOn(plain ?? named.get('enabled')) || (!mayFreeze && fsfreeze === undefined)) return {}
  return { agent: placesOf(vmid).agent }
}

/** The state of a TPM is kept by another program. It is a small file, which is read as it is. */
async function tpmState(guest: ProxmoxGuest, options: BackupProxmoxOptions) {
  const tpm = guest.wanted.filter(({ key }) => key === 'tpmstate0')
  try {
    const images = await findImages(tpm, guest, options)
    for (const { spec } of images) if (spec.startsWith('/')) await access(spec, constants.R_OK)
    return images
  } catch (error) {
    options.warn?.(
      `the state of the TPM is left out, and a restored guest has a new one: ${asVmapipeError(error).line}`,
    )
    return []
  }
}

function mapOf({ key, archiveName }: ProxmoxDrive, format: string, storage: string): MapLine {
  const known = ['raw', 'qcow2', 'vmdk'].includes(format) ? format : 'raw'
  // A name that the line cannot carry belongs to no storage of Proxmox.
  return { key, drive: archiveName, storage: /^[A-Za-z][\w.-]*$/.test(storage) ? storage : '', format: known }
}

function storageOf({ volume }: ProxmoxDrive): string {
  return parseVolume(volume)?.storage ?? ''
}

/** The config files of the archive. */
async function contentsOf(
  guest: ProxmoxGuest,
  map: readonly MapLine[],
  { config, configs = {} }: BackupProxmoxOptions,
) {
  const mapped = map.map(({ key }) => key)
  const lacking = [
    ...guest.wanted,
    ...guest.leftOut.filter(({ reason }) => reason === 'is excluded').map(({ drive }) => drive),
  ]
  const leftOut = lacking.map(({ key }) => key).filter((key) => !mapped.includes(key))
  if (configs[PROXMOX_CONFIG] !== undefined) {
    throw new VmapipeError('USAGE', `${PROXMOX_CONFIG} is made of the config of the guest`, {
      hint: 'name that by --proxmox-config FILE',
    })
  }
  const { firewall } = placesOf(guest.vmid)
  const hasRules = config === undefined && configs[PROXMOX_FIREWALL] === undefined && (await exists(firewall))
  return {
    [PROXMOX_CONFIG]: new Uint8Array(Buffer.from(archivedConfig(guest.config, { map, leftOut }))),
    ...(hasRules && { [PROXMOX_FIREWALL]: firewall }),
  }
}
