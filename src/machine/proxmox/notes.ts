/** Notes of an archive, made of a template as Proxmox does: `{{guestname}} on {{node}} ({{vmid}})`. */

import { VmapipeError } from '../../core/errors.ts'

export const DEFAULT_TEMPLATE = '{{guestname}}'

export interface NoteVariables {
  guestname: string
  node: string
  vmid: string
  cluster: string
}

const KNOWN = ['cluster', 'guestname', 'node', 'vmid'] as const

/**
 * Throws USAGE for a variable that is not known, or a backslash before anything but `n` and another backslash. What is put in for a
 * variable is text: nothing in it is a variable or an escape again.
 */
export function notesOf(template: string, variables: NoteVariables): string {
  return template.replace(/\\(.?)|\{\{(\S*?)\}\}/gs, (whole, escaped?: string, name?: string) => {
    if (name !== undefined) return variables[known(name, whole)]
    if (escaped === 'n') return '\n'
    if (escaped === '\\') return '\\'
    throw new VmapipeError('USAGE', `the template of the notes has '${whole}' in it`, {
      hint: 'write \\n for a new line and \\\\ for a backslash',
    })
  })
}

function known(name: string, whole: string): keyof NoteVariables {
  const found = KNOWN.find((variable) => variable === name)
  if (found !== undefined) return found
  throw new VmapipeError('USAGE', `the template of the notes has ${whole} in it, which is not known`, {
    hint: `known are ${KNOWN.map((variable) => `{{${variable}}}`).join(', ')}`,
  })
}
