/** Checks names of drives and config files that a user gives for an archive. The framer checks what the format can hold. */

import { VmapipeError } from '../core/errors.ts'
import { nameProblem } from '../formats/vma/names.ts'

type What = 'drive' | 'config file'

const EXAMPLES: Record<What, string> = {
  drive: 'Proxmox calls drives drive-scsi0, drive-virtio1, drive-efidisk0',
  'config file': "Proxmox calls a guest's config qemu-server.conf",
}

/** Throws USAGE for a name that no restore could make a file of. */
function checkName(what: What, name: string): void {
  const wrong =
    name === ''
      ? 'is empty'
      : name === '.' || name === '..' || name === '__proto__'
        ? 'is not allowed'
        : name.includes('/')
          ? 'has a slash in it'
          : (nameProblem(name) ?? undefined)
  if (wrong !== undefined)
    throw new VmapipeError('USAGE', `the ${what} name '${name}' ${wrong}`, { hint: EXAMPLES[what] })
}

/** The name that qmrestore looks for, `drive-scsi0`, if the user wrote `scsi0`. */
export function likelyName(name: string): string | undefined {
  return /^(scsi|virtio|ide|sata|efidisk|tpmstate)\d+$/.test(name) ? `drive-${name}` : undefined
}

/** Makes a record of names and their values. Throws USAGE if a name is given twice. */
export function namedOnce(what: What, entries: readonly (readonly [string, string])[]): Record<string, string> {
  const seen = new Set<string>()
  for (const [name] of entries) {
    checkName(what, name)
    if (seen.has(name)) throw new VmapipeError('USAGE', `the ${what} name '${name}' is given twice`)
    seen.add(name)
  }
  return Object.fromEntries(entries)
}
