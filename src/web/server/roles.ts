/** What each role may do. Every route and every action names what it needs; app.ts alone compares. */

import { ROLES } from '../accounts/accounts.ts'
import type { Action, Role } from '../house.ts'

/** `open`: also for those who are not signed in. */
export type Need = Role | 'open'

export const ACTION_NEEDS: Record<Action['do'], Role> = {
  start: 'operate',
  cancel: 'operate',
  verify: 'operate',
  boot: 'operate',
  protect: 'operate',
  note: 'operate',
  prune: 'operate',
  restore: 'operate',
  drain: 'administer',
  rescan: 'administer',
}

/** Each role may do what those before it may. */
export function permits(role: Role | null, need: Need): boolean {
  if (need === 'open') return true
  return role !== null && ROLES.indexOf(role) >= ROLES.indexOf(need)
}
