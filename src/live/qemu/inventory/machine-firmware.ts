/** The firmware of a machine of QEMU: the board's flash holds UEFI and its variables. */

import type { Machine } from '../../../machine/machine.ts'
import type { QemuDrive } from './discovery.ts'
import { isFlash } from './machine-disks.ts'
import { type Monitor, qomChildren, qomGet, qomText } from './qom.ts'

/** How builds of UEFI for QEMU are called: OVMF.fd, AAVMF_CODE.fd, edk2-x86_64-code.fd. */
const UEFI = /ovmf|aavmf|edk2|efi/i

/** Undefined if it cannot be told, as on boards that have no BIOS. */
export async function describeFirmware(
  monitor: Monitor,
  drives: readonly QemuDrive[],
): Promise<Machine['firmware'] | undefined> {
  const flash = drives.filter(({ type }) => isFlash(type))
  // UEFI's code is in the first flash, which is read-only and so no drive of the archive. Its variables are in the second.
  const [inUse, secure, bios] = await Promise.all([
    hasFlash(monitor),
    qomGet(monitor, '/machine/system.flash0', 'secure'),
    qomText(monitor, '/machine', 'firmware'),
  ])
  const variables = flash.find(({ qomPath }) => qomPath.endsWith('flash1')) ?? flash.find(({ readOnly }) => !readOnly)
  if (inUse || flash.length > 0)
    return {
      kind: 'uefi',
      ...(typeof secure === 'boolean' && { secureBoot: secure }),
      ...(variables !== undefined && { variables: variables.name }),
    }
  if (bios === undefined) return undefined
  return { kind: UEFI.test(bios) ? 'uefi' : 'bios' }
}

/** Whether the board's first flash has a drive: a board has its flash as a child whether it is used or not. */
async function hasFlash(monitor: Monitor): Promise<boolean> {
  const board = await qomChildren(monitor, '/machine')
  const first = board.find(({ name, type }) => isFlash(type) && name === 'system.flash0')
  return first !== undefined && (await qomText(monitor, first.path, 'drive')) !== undefined
}
