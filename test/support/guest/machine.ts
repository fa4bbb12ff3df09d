/** The guest's machine, as QEMU's command line. */

import { writeFileSync } from 'node:fs'
import { firmwareArgs, INSTALLED, needsQemu, type QemuBuild } from '../qemu-builds.ts'
import { needs } from '../tools.ts'
import type { Accelerator } from './accelerator.ts'
import { findBusybox } from './busybox.ts'
import { buildInitramfs } from './initramfs.ts'
import { findKernel } from './kernel.ts'

/** A disk: an NBD export on a unix socket, or an image file. The node and the device of the first are `disk0`. */
export type GuestDisk = ({ socket: string; name: string } | { file: string; format?: 'raw' | 'qcow2' }) & {
  /** What the guest finds it on: /dev/vda (unless told otherwise), or /dev/sda. */
  bus?: 'virtio-blk' | 'virtio-scsi'
  /** The guest sees no write cache: each of its writes is then durable before it is answered. */
  writeThrough?: boolean
}

export interface GuestOptions {
  /** `writer` writes records to all disks, `boot` boots from one and looks at the others, `idle` is just there. */
  role: 'writer' | 'boot' | 'idle'
  disks?: readonly GuestDisk[]
  /** Which one it boots from: /dev/vda unless given. */
  root?: 'vda' | 'sda'
  /** After this record the writer removes the ballast and trims. */
  trim?: number
  /** The one that is installed unless given. */
  qemu?: QemuBuild
  /** More arguments for QEMU, such as a QMP socket. */
  args?: readonly string[]
}

/** Options for `test()`. */
export function needsGuest(build = INSTALLED): { skip: string | false } {
  return { skip: (!process.env.CI && missing(build)) || false }
}

/** Where this machine writes its console, and where its initramfs is to be put. */
export interface MachineFiles {
  log: string
  initramfs: string
}

/** QEMU's arguments; writes the initramfs. */
export function machine({ log, initramfs }: MachineFiles, options: GuestOptions, accel: Accelerator): string[] {
  const { qemu = INSTALLED, disks = [] } = options
  const lack = missing(qemu)
  if (lack !== undefined) throw new Error(`a test guest ${lack}`)
  const { modules, vmlinuz } = findKernel()!
  writeFileSync(initramfs, buildInitramfs(modules, findBusybox()!))
  return [
    ...firmwareArgs(qemu),
    ...['-accel', accel, '-cpu', 'qemu64', '-m', '256', '-nodefaults', '-display', 'none', '-no-reboot'],
    ...['-kernel', vmlinuz, '-initrd', initramfs, '-append', commandLine(options)],
    ...['-chardev', `file,id=log,path=${log},append=on`, '-serial', 'chardev:log', '-serial', 'stdio'],
    ...(disks.some(({ bus }) => bus === 'virtio-scsi') ? ['-device', 'virtio-scsi-pci'] : []),
    ...disks.flatMap(diskArgs),
    ...(options.args ?? []),
  ]
}

function missing(build: QemuBuild): string | undefined {
  for (const { skip } of [needsQemu(build, 'qemu-system-x86_64'), needs('busybox', 'mkfs.ext4', 'e2fsck', 'debugfs')]) {
    if (skip) return skip
  }
  if (process.arch !== 'x64') return 'needs an x86-64 host, for its busybox'
  if (findBusybox() === undefined) return 'needs a busybox that is linked statically'
  if (findKernel() === undefined) return 'needs a kernel: node test/support/guest/fetch-kernel.ts'
  return undefined
}

/**
 * printk.devkmsg=on: the kernel would else limit how much a process may say. no_timer_check: on a busy host the kernel
 * would else find at times that its timer does not work.
 */
function commandLine({ role, trim, disks = [], root = 'vda' }: GuestOptions): string {
  return [
    'console=ttyS0 panic=-1 nokaslr no_timer_check printk.time=0 printk.devkmsg=on',
    `vmapipe.role=${role} vmapipe.disks=${disks.length} vmapipe.root=${root}`,
    trim === undefined ? '' : `vmapipe.trim=${trim}`,
  ].join(' ')
}

function diskArgs(disk: GuestDisk, index: number): string[] {
  const node = `disk${index}`
  const driver = disk.bus === 'virtio-scsi' ? 'scsi-hd' : 'virtio-blk-pci'
  const device = { driver, id: node, drive: node, 'write-cache': disk.writeThrough ? 'off' : 'on' }
  return [
    ...['-blockdev', JSON.stringify({ ...backend(disk), 'node-name': node, discard: 'unmap' })],
    ...['-device', JSON.stringify(device)],
  ]
}

function backend(disk: GuestDisk): object {
  if (!('file' in disk)) {
    return { driver: 'nbd', server: { type: 'unix', path: disk.socket }, export: disk.name, 'reconnect-delay': 30 }
  }
  const file = { driver: 'file', filename: disk.file, discard: 'unmap' }
  return disk.format === 'qcow2' ? { driver: 'qcow2', file } : file
}
