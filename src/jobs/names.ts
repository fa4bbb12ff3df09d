/** Names of drives and config files as a user gives them for an archive. What the format can hold is the framer's to check. */

import { VmapipeError } from '../core/errors.ts'
import { nameProblem } from '../formats/vma/names.ts'

type What = 'drive' | 'config file'

const EXAMPLES: Record<What, string> = {
  drive: 'Proxmox calls drives drive-scsi0, drive-virtio1, drive-efidisk0',
  'config file': "Proxmox calls a guest's config qemu-server.conf",
}

/** Anything that restore could not make a file of is refused before work begins. USAGE. */
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

/** What qmrestore looks for is `drive-scsi0`; somebody who writes `scsi0` most likely wanted that. */
export function likelyName(name: string): string | undefined {
  return /^(scsi|virtio|ide|sata|efidisk|tpmstate)\d+$/.test(name) ? `drive-${name}` : undefined
}

/** Names and what they stand for as one record; a name given twice is USAGE. */
export function namedOnce(what: What, entries: readonly (readonly [string, string])[]): Record<string, string> {
  const seen = new Set<string>()
  for (const [name] of entries) {
    checkName(what, name)
    if (seen.has(name)) throw new VmapipeError('USAGE', `the ${what} name '${name}' is given twice`)
    seen.add(name)
  }
  return Object.fromEntries(entries)
}
