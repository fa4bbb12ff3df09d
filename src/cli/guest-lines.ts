/** Shows what an archive says of its guest, and of itself, beside what `vma list` shows. */

import { printable } from '../core/errors.ts'
import type { Manifest } from '../core/items.ts'
import { formatBytes } from '../core/size.ts'
import type { Glance } from '../machine/glance.ts'
import { count } from './text.ts'

export interface Told {
  glance: Glance | null
  /** How the archive is encrypted; null if it is not. */
  encrypted: string | null
}

export function guestLines({ record }: Pick<Manifest, 'record'>, { glance, encrypted }: Told): string[] {
  return [
    ...(glance === null ? [] : [`GUEST: ${facts(glance).join(', ') || 'nothing is known'}`]),
    ...(glance?.disks ?? []).map(
      ({ drive, bus, unit, format }) =>
        `DISK: devname: ${printable(drive)} bus: ${printable(bus)}${unit ?? ''}${format ? ` format: ${printable(format)}` : ''}`,
    ),
    ...(glance?.networks ?? []).map(({ model, mac }) => `NET: ${printable(model)} ${printable(mac)}`),
    ...(record?.tool ? [`TOOL: ${printable(record.tool)}`] : []),
    ...(encrypted === null ? [] : [`ENCRYPTED: ${encrypted}`]),
  ]
}

function facts({ name, uuid, memory, processors, type, firmware, tpm }: Glance): string[] {
  return [
    ...(name === undefined ? [] : [printable(name)]),
    ...(uuid === undefined ? [] : [`uuid ${printable(uuid)}`]),
    ...(memory === undefined ? [] : [`${formatBytes(memory)} of memory`]),
    ...(processors === undefined ? [] : [count(processors, 'processor')]),
    ...(type === undefined ? [] : [printable(type)]),
    ...(firmware === undefined ? [] : [firmwareText(firmware)]),
    ...(tpm === undefined ? [] : [`TPM ${printable(tpm.version)}`]),
  ]
}

function firmwareText({ kind, secureBoot }: NonNullable<Glance['firmware']>): string {
  const name = kind === 'uefi' ? 'UEFI' : kind === 'bios' ? 'BIOS' : printable(kind)
  return secureBoot ? `${name} with Secure Boot` : name
}

/** What JSON has of a drive beside its name and size. */
export function diskJson(name: string, glance: Glance | null): object {
  const { bus, unit, format } = glance?.disks.find(({ drive }) => drive === name) ?? {}
  return { bus, unit, format }
}
