/** The config files that tell what a domain is: its XML, `guest.json`, and the state of its TPM. */

import { join } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { MAX_CONFIG_SIZE } from '../../formats/vma/header.ts'
import { DOMAIN_XML, type Domain } from '../../machine/libvirt/domain.ts'
import { machineOf } from '../../machine/libvirt/machine.ts'
import { isLibvirtUuid, tpmStateFile, tpmStatePath } from '../../machine/libvirt/tpm-state.ts'
import { GUEST_JSON } from '../../machine/machine.ts'
import { readSmallFile } from '../../storage/config-file.ts'

type Configs = Record<string, Uint8Array<ArrayBuffer>>

interface Described {
  /** As libvirt gives it: of the domain as it starts next, without secrets. */
  xml: string
  domain: Domain
  /** Names of the drives in the archive by the targets of their disks. */
  drives: ReadonlyMap<string, string>
  hasVariables: boolean
  isRunning: boolean
  warn(message: string): void
}

export async function descriptionFiles(described: Described): Promise<Configs> {
  const { xml, domain, drives, hasVariables, warn } = described
  const tpm = await tpmState(described)
  const machine = machineOf(domain, { drives, hasVariables, tpmState: tpm?.name })
  const files: [string, Uint8Array<ArrayBuffer>][] = [
    [DOMAIN_XML, new Uint8Array(Buffer.from(xml))],
    [GUEST_JSON, new Uint8Array(Buffer.from(`${JSON.stringify(machine, null, 2)}\n`))],
    ...(tpm === null ? [] : [[tpm.name, tpm.data] as [string, Uint8Array<ArrayBuffer>]]),
  ]
  return Object.fromEntries(
    files.filter(([name, data]) => {
      if (data.length <= MAX_CONFIG_SIZE) return true
      warn(
        `${name} is left out: it has ${data.length} bytes, and an archive holds at most ${MAX_CONFIG_SIZE} of each file`,
      )
      return false
    }),
  )
}

/** The state of the TPM of a guest that is off; null if there is none, or it cannot be had, of which the user is told. */
async function tpmState({
  domain,
  isRunning,
  warn,
}: Described): Promise<{ name: string; data: Uint8Array<ArrayBuffer> } | null> {
  const { tpm, uuid } = domain
  if (tpm === undefined) return null
  if (isRunning) {
    warn(
      "the state of the guest's TPM is not in the archive, because the guest runs: what it has sealed with the TPM needs a backup while it is off",
    )
    return null
  }
  if (!isLibvirtUuid(uuid)) return null
  const folder = tpmStatePath(tpm, uuid)
  const name = tpmStateFile(tpm.version)
  try {
    const data = await readSmallFile(join(folder, name), MAX_CONFIG_SIZE)
    return { name, data: new Uint8Array(data) }
  } catch (error) {
    const reason = error instanceof VmapipeError ? error.message : String(error)
    warn(`the state of the guest's TPM is not in the archive: ${reason}`)
    return null
  }
}
