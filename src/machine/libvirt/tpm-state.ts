/** Where libvirt keeps the state of the TPM that swtpm makes for a domain. */

import { join } from 'node:path'
import { attribute, type Element, find } from './xml.ts'

/** Of the libvirt of the system. */
const STATES = '/var/lib/libvirt/swtpm'

interface Tpm {
  element: Element
  version: string
}

/** The file with the permanent state, as swtpm names it. What else swtpm keeps is of a running TPM. */
export function tpmStateFile(version: string): string {
  return version.startsWith('1') ? 'tpm-00.permall' : 'tpm2-00.permall'
}

/** The folder of the state. From libvirt 10.10 on the XML may name it. */
export function tpmStatePath({ element, version }: Tpm, uuid: string): string {
  const source = find(element, 'backend', 'source')
  const named = attribute(source, 'type') === 'dir' ? attribute(source, 'path') : undefined
  return named ?? defaultTpmState(version, uuid)
}

/** `uuid` must be one: it becomes a part of the path. */
export function defaultTpmState(version: string, uuid: string): string {
  return join(STATES, uuid, version.startsWith('1') ? 'tpm1.2' : 'tpm2')
}

export function isLibvirtUuid(text: string | undefined): text is string {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text ?? '')
}
