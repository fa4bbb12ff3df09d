/** Makes a domain that is safe to define of what an archive says of its guest. */

import { randomUUID } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'
import type { ConfigFile, Manifest } from '../../core/items.ts'
import { DOMAIN_XML, Domain, type DomainDisk, VARIABLES_DRIVE } from '../../machine/libvirt/domain.ts'
import { reduceDomain } from '../../machine/libvirt/reduce.ts'
import { isLibvirtUuid, tpmStateFile } from '../../machine/libvirt/tpm-state.ts'
import { attribute, content, find } from '../../machine/libvirt/xml.ts'
import { GUEST_JSON, machineSchema } from '../../machine/machine.ts'
import { IMAGE_FORMATS, type ImageFormat } from '../../storage/spec.ts'
import type { GuestIdentity } from './domain-options.ts'

type Format = ImageFormat | 'raw'

export interface PreparedDisk {
  target: string
  /** Name of the drive in the archive. */
  drive: string
  /** Format that its image had. */
  format: Format
}

export interface PreparedDomain {
  domain: Domain
  name: string
  uuid: string
  /** The name as a part of files' names. */
  fileName: string
  disks: readonly PreparedDisk[]
  /** Whether the archive has the variables of UEFI. */
  hasVariables: boolean
  tpmState: ConfigFile | null
  /** What the archive's XML names as the emulator. */
  emulator: string | undefined
}

/** Throws FAILED if the archive has no guest of libvirt, DAMAGED if its XML is none. `warn` is told what is left out. */
export function prepareDomain(
  manifest: Manifest,
  identity: GuestIdentity,
  warn: (message: string) => void,
): PreparedDomain {
  const config = (name: string) => manifest.configs.find((file) => file.name === name)
  const file = config(DOMAIN_XML)
  if (file === undefined) {
    const hint = 'restore its drives into a folder (vmapipe restore ARCHIVE DIR), and define a domain by hand'
    throw new VmapipeError('FAILED', `the archive has no ${DOMAIN_XML}: it is not of a guest of libvirt`, { hint })
  }
  const domain = Domain.parse(new TextDecoder().decode(file.data), `${DOMAIN_XML} of the archive`)
  if (domain.type !== 'kvm' && domain.type !== 'qemu')
    throw new VmapipeError(
      'FAILED',
      `the domain is of the kind '${domain.type}', and only those of QEMU and KVM are restored`,
    )
  const name = checkedName(identity.name ?? domain.name)
  const uuid = uuidFor(domain, identity.newUuid)
  const emulator = content(domain.devices && find(domain.devices, 'emulator'))
  const names = new Set(manifest.drives.map((drive) => drive.name))
  const disks = matched(domain, names, config(GUEST_JSON))
  const hasVariables = domain.isUefi && names.has(VARIABLES_DRIVE)
  const used = new Set([...disks.map(({ drive }) => drive), ...(hasVariables ? [VARIABLES_DRIVE] : [])])
  for (const drive of names)
    if (!used.has(drive))
      warn(`the drive ${drive} is left out: the domain has no disk for it; restore it with --drive ${drive}=TARGET`)
  if (disks.length === 0) throw new VmapipeError('FAILED', 'the archive has no drive of a disk of the domain')
  reduceDomain(domain, warn)
  if (domain.isUefi && !hasVariables)
    warn(
      'the archive has no variables of UEFI: libvirt makes new ones, and the guest finds its system by the default path',
    )
  const tpmState = domain.tpm ? (config(tpmStateFile(domain.tpm.version)) ?? null) : null
  if (domain.tpm && tpmState === null) warn('the archive has no state of the TPM: the guest gets a new one')
  const fileName = name
    .replace(/[^\p{L}\p{N}._-]/gu, '_')
    .replace(/^\.+/, '_')
    .slice(0, 100)
  return { domain, name, uuid, fileName, disks, hasVariables, tpmState, emulator }
}

/** The disks that the archive has drives of: by what it says of them, or else by the names that drives of libvirt's guests get. */
function matched(domain: Domain, names: ReadonlySet<string>, guest: ConfigFile | undefined): PreparedDisk[] {
  const told = new Map<string, string>()
  for (const { target, drive } of guestDisks(guest)) if (target !== undefined) told.set(target, drive)
  const taken = new Set<string>()
  return domain.disks.flatMap((disk) => {
    const drive = told.get(disk.target) ?? disk.drive
    if (disk.device === 'cdrom' || disk.device === 'floppy' || !names.has(drive) || taken.has(drive)) return []
    if (!/^[a-z]{1,8}[a-z0-9]{0,8}$/.test(disk.target)) return []
    taken.add(drive)
    return [{ target: disk.target, drive, format: formatOf(disk) }]
  })
}

function guestDisks(guest: ConfigFile | undefined): { target?: string | undefined; drive: string }[] {
  if (guest === undefined) return []
  try {
    return machineSchema.parse(JSON.parse(new TextDecoder().decode(guest.data))).disks
  } catch {
    return []
  }
}

function formatOf({ element }: DomainDisk): Format {
  const named = attribute(find(element, 'driver'), 'type') ?? 'raw'
  return (['raw', ...IMAGE_FORMATS] as const).find((format) => format === named) ?? 'qcow2'
}

function checkedName(name: string): string {
  if (
    name.trim() !== '' &&
    name.length <= 200 &&
    !/[/\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u.test(name) &&
    !/^\.+$/.test(name)
  )
    return name
  throw new VmapipeError('FAILED', `'${name}' is no name for a domain`, { hint: 'name it by --new-name' })
}

function uuidFor({ uuid }: Domain, wanted: boolean | string | undefined): string {
  if (typeof wanted === 'string' && !isLibvirtUuid(wanted.toLowerCase()))
    throw new VmapipeError('USAGE', `'${wanted}' is no uuid`, { hint: 'leave it out for a random one' })
  if (typeof wanted === 'string') return wanted.toLowerCase()
  return wanted || !isLibvirtUuid(uuid) ? randomUUID() : uuid
}
