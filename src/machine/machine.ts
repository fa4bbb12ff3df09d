/**
 * A guest without its data: what a hypervisor has to be told so that the guest boots from its drives again. Proxmox, libvirt and QEMU
 * each write it in their own way; what reads one of these makes a `Machine`, and what writes one is given a `Machine`. An archive
 * carries it as the config file `guest.json`. All of it may come from somebody else's archive: nothing in it is a path that is followed,
 * and nothing of it is run.
 */

import * as z from 'zod'

/** Name of the config file in an archive. */
export const GUEST_JSON = 'guest.json'
export const MACHINE_VERSION = 1

const name = z.string().min(1).max(255)
const count = z
  .int()
  .min(0)
  .max(1 << 20)

const disk = z.looseObject({
  drive: name.describe('name of the drive in the archive, such as "drive-scsi0"'),
  bus: z.enum(['ide', 'sata', 'scsi', 'virtio', 'nvme', 'usb', 'sd', 'floppy', 'other']),
  unit: count.optional().describe('the number of the disk on its bus, from 0'),
  target: name.optional().describe('name of the disk in libvirt, such as "vda"'),
  format: z.string().max(32).optional().describe('format of its image, such as "qcow2"'),
  storage: name.optional().describe('name of its storage in Proxmox'),
  controller: name.optional().describe('model of its controller, such as "virtio-scsi-pci"'),
  serial: z.string().max(255).optional(),
  bootOrder: count.optional().describe('the disk with the lowest number boots first'),
  readOnly: z.boolean().optional(),
  size: z.int().min(0).optional().describe('bytes'),
})

const network = z.looseObject({
  model: name.describe('such as "virtio" or "e1000"'),
  mac: z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i),
  bridge: name.optional(),
  bootOrder: count.optional(),
})

export const machineSchema = z.looseObject({
  version: z.literal(MACHINE_VERSION),
  from: z.enum(['proxmox', 'libvirt', 'qemu', 'serve']).describe('what described the guest'),
  name: name.optional(),
  uuid: z.guid().optional(),
  type: name.optional().describe('type of the machine as QEMU names it, such as "pc-q35-7.2"'),
  arch: name.optional().describe('such as "x86_64"'),
  memory: z.int().min(1).optional().describe('bytes'),
  cpu: z
    .looseObject({
      model: name.optional().describe('as QEMU names it, such as "host" or "EPYC"'),
      count: count
        .optional()
        .describe('processors that are there; sockets, dies, cores and threads say how many there may be'),
      sockets: count.optional(),
      dies: count.optional().describe('dies of a socket; 1 unless given'),
      cores: count.optional(),
      threads: count.optional(),
    })
    .optional(),
  firmware: z
    .looseObject({
      kind: z.enum(['bios', 'uefi']),
      secureBoot: z.boolean().optional(),
      variables: name.optional().describe('config file or drive of the archive that has the variables of UEFI'),
    })
    .optional(),
  tpm: z
    .looseObject({
      version: name,
      model: name.optional().describe('such as "tpm-crb"'),
      state: name.optional().describe('config file or drive of the archive that has its state'),
    })
    .optional(),
  agent: z.boolean().optional().describe('whether a guest agent is expected in it'),
  disks: z.array(disk).max(255),
  networks: z.array(network).max(255).optional(),
})

export type Machine = z.infer<typeof machineSchema>
export type MachineDisk = z.infer<typeof disk>
export type MachineNetwork = z.infer<typeof network>
