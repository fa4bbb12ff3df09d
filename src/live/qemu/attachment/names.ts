/** The names of our nodes, jobs and exports in a QEMU. What a killed run has left is found by them. */

export const PREFIX = 'vmapipe-'

/** The names for one drive. QEMU takes up to 31 characters, beginning with a letter. */
interface DriveNames {
  /** The NBD client that pushes to us; also the name of our export. */
  target: string
  /** The copy-before-write filter. */
  filter: string
  /** The point in time, and its export. */
  snapshot: string
  /** The export that keeps the drive's size. */
  hold: string
  /** The export of the bitmap that tells what to read. */
  bits: string
  job: string
  /** A null node, only while bitmaps are made. */
  mark: string
}

export function namesOf(index: number): DriveNames {
  return {
    target: `${PREFIX}tgt${index}`,
    filter: `${PREFIX}cbw${index}`,
    snapshot: `${PREFIX}snap${index}`,
    hold: `${PREFIX}hold${index}`,
    bits: `${PREFIX}bits${index}`,
    job: `${PREFIX}job${index}`,
    mark: `${PREFIX}mark${index}`,
  }
}

/** Whether an export of ours is one that keeps a drive's size. */
export function isHold(id: string): boolean {
  return id.startsWith(`${PREFIX}hold`)
}

/** The export that keeps the size of the drive below this filter. */
export function holdOf(filter: string): string {
  return filter.replace(`${PREFIX}cbw`, `${PREFIX}hold`)
}

/** The target of this filter. */
export function targetOf(filter: string): string {
  return filter.replace(`${PREFIX}cbw`, `${PREFIX}tgt`)
}

export function isOurs(name: unknown): name is string {
  return typeof name === 'string' && name.startsWith(PREFIX)
}
