/** The second line in the log of a live backup. */

/** `since` is in seconds since the epoch. */
export function tellPointInTime(inform: (message: string, fields?: object) => void, since: number): void {
  inform(`point in time: ${new Date(since * 1000).toISOString()}`, { pointInTime: since })
}
