/**
 * UEFI's code and an empty store of variables on this host, by the descriptors that distributions install for QEMU (QEMU's
 * interop/firmware.json). Secure Boot is never used: what boots with it boots without it.
 */

import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { z } from '../../core/stage.ts'

const FOLDERS = ['/etc/qemu/firmware', '/usr/share/qemu/firmware']

const descriptor = z.looseObject({
  'interface-types': z.array(z.string()),
  mapping: z.looseObject({
    device: z.literal('flash'),
    executable: z.looseObject({ filename: z.string(), format: z.literal('raw') }),
    'nvram-template': z.looseObject({ filename: z.string(), format: z.literal('raw') }),
  }),
  targets: z.array(z.looseObject({ architecture: z.string(), machines: z.array(z.string()) })),
  features: z.array(z.string()),
})

export interface Firmware {
  /** Path of the code. */
  code: string
  /** Path of a store without variables of a guest. */
  template: string
}

/** Code and stores without a descriptor: those of Proxmox, and older ones of 2 MiB. */
const OTHERS: readonly Firmware[] = [
  ['/usr/share/pve-edk2-firmware', '_4M'],
  ['/usr/share/OVMF', '_4M'],
  ['/usr/share/OVMF', ''],
  ['/usr/share/edk2/ovmf', ''],
].map(([folder, size]) => ({ code: `${folder}/OVMF_CODE${size}.fd`, template: `${folder}/OVMF_VARS${size}.fd` }))

/**
 * Code for the board that works with variables of this size; of any size without it. Throws FAILED if there is none. `folders` is where
 * descriptors are.
 */
export async function findFirmware(
  { board, variables }: { board: 'q35' | 'pc'; variables?: number | undefined },
  folders: readonly string[] = FOLDERS,
): Promise<Firmware> {
  const found = [...(await descriptors(board, folders)), ...OTHERS]
  for (const firmware of found) {
    const size = await sizeOf(firmware.template)
    if (size === null || (await sizeOf(firmware.code)) === null) continue
    if (variables === undefined || variables === size) return firmware
  }
  const what = variables === undefined ? '' : ` for variables of ${variables} bytes`
  throw new VmapipeError('FAILED', `this host has no UEFI firmware of QEMU${what}`, {
    hint: 'install it: ovmf (Debian, Ubuntu), edk2-ovmf (Fedora, RHEL, Arch), qemu-ovmf-x86_64 (SUSE)',
  })
}

async function descriptors(board: string, folders: readonly string[]): Promise<Firmware[]> {
  const lists = await Promise.all(
    folders.map(async (folder) => {
      const names = await readdir(folder).catch(() => [])
      return names.filter((name) => name.endsWith('.json')).map((name) => join(folder, name))
    }),
  )
  const found: Firmware[] = []
  for (const file of lists.flat()) {
    const { success, data } = descriptor.safeParse(await readJson(file))
    if (!success || !data['interface-types'].includes('uefi')) continue
    if (data.features.some((feature) => /^(secure-boot|requires-smm)$/.test(feature))) continue
    const fits = data.targets.some(
      ({ architecture, machines }) =>
        architecture === 'x86_64' && machines.some((pattern) => pattern.startsWith(`pc-${BOARDS[board]}`)),
    )
    const { executable, 'nvram-template': template } = data.mapping
    if (fits) found.push({ code: executable.filename, template: template.filename })
  }
  return found
}

/** Boards as descriptors name them. */
const BOARDS: Record<string, string> = { q35: 'q35', pc: 'i440fx' }

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch {
    return null
  }
}

async function sizeOf(file: string): Promise<number | null> {
  const stats = await stat(file).catch(() => null)
  return stats?.isFile() ? stats.size : null
}
