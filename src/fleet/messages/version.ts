/**
 * The version of what planner and agents say to each other. Both say theirs, and speak the lower one. A message may have fields that its
 * reader does not know; they are left out. So a planner and its agents can be updated one after the other, in any order.
 */

/** What this vmapipe speaks at best. */
export const PROTOCOL = 1

/** The oldest that it still speaks. */
export const OLDEST_PROTOCOL = 1
