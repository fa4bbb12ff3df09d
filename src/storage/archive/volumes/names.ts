/** The names of the volumes of an archive that is in several files: `vm.vma.zst.000`, `.001` and so on, in order. */

/** Names have three digits, so that a shell lists the volumes in their order. */
export const MOST_VOLUMES = 1000

export function volumeName(base: string, number: number): string {
  return `${base}.${String(number).padStart(3, '0')}`
}

/** The archive's name and the volume's number in the name of a volume; null for any other name. */
export function parseVolumeName(path: string): { base: string; number: number } | null {
  const match = /^(.*[^/])\.(\d{3})$/s.exec(path)
  return match === null ? null : { base: match[1], number: Number(match[2]) }
}

/** The file that says which volumes there are. */
export function listName(base: string): string {
  return `${base}.volumes`
}
