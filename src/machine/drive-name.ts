/** The name of a drive in an archive, made of the id that a hypervisor gives to the device. */

const PREFIX = 'drive-'
const LONGEST = 100

/** `drive-` and the id, as Proxmox does: "drive-scsi0". */
export function driveNameOf(id: string): string {
  const plain = id.replace(/[^A-Za-z0-9._-]/g, '_').slice(0, LONGEST)
  return plain.startsWith(PREFIX) ? plain : PREFIX + plain
}
