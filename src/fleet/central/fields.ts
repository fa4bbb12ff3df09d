/**
 * What a central job may say. It is a list of what is allowed, so a field that job files get later is refused until somebody has thought
 * about it. Nothing in it is run, and no file of a host is named by it: hooks, pipelines, sockets of agents, key files and images at rest
 * are in job files of hosts alone.
 */

/** Fields at the top and in an entry of `guests`: numbers, words out of a list, and names of drives. */
const BACKUP_FIELDS = [
  'compress',
  'buffer',
  'threads',
  'rate',
  'max-stall',
  'exclude-drives',
  'connect',
  'mode',
  'fsfreeze',
  'with-ram',
  'track',
  'in-order',
  'force-share',
  'checksums',
  'index',
] as const

export const CENTRAL_FIELDS = {
  top: [
    ...['$schema', 'description', 'hosts', 'guests', 'to', 'schedule', 'promise', 'full', 'limits', 'retry', 'check'],
    ...BACKUP_FIELDS,
  ],
  guest: [...['libvirt', 'qmp', 'attach', 'proxmox', 'drives', 'name', 'name-from', 'exclude'], ...BACKUP_FIELDS],
  place: [
    ...['place', 'keep', 'required', 'parallel', 'storage', 'recipients'],
    ...['retain-for', 'storage-class', 'sse', 'tags'],
  ],
} as const

/** Addresses of libvirt that run nothing: others name programs, hosts or key files in their parameters. */
export const CONNECT_URIS: readonly string[] = ['qemu:///system', 'qemu:///session']
