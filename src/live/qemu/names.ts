/** How our nodes, jobs and exports in somebody's QEMU are called: what a killed run left is found by it. */

export const PREFIX = 'vmapipe-'

/** Of one drive. QEMU takes up to 31 characters, beginning with a letter. */
export interface DriveNames {
  /** The NBD client that pushes to us; also the name of our export. */
  target: string
  /** The copy-before-write filter. */
  filter: string
  /** The point in time, and its export. */
  snapshot: string
  job: string
}

export function namesOf(index: number): DriveNames {
  return {
    target: `${PREFIX}tgt${index}`,
    filter: `${PREFIX}cbw${index}`,
    snapshot: `${PREFIX}snap${index}`,
    job: `${PREFIX}job${index}`,
  }
}

export function isOurs(name: unknown): name is string {
  return typeof name === 'string' && name.startsWith(PREFIX)
}
