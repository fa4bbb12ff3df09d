/** Where fields of the header are, for messages. It stands apart from header.ts, whose checksum loads much code of Node. */

const DEV_INFO = 4096
const DEV_INFO_SIZE = 32

/** The offset of the list of config names. */
export const CONFIG_NAMES = 2044

/** The offset in the header of the entry of the drive with this dev_id. */
export function driveEntry(id: number): number {
  return DEV_INFO + id * DEV_INFO_SIZE
}
