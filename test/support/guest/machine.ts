/** The guest's machine, as QEMU's command line. */

import { writeFileSync } from 'node:fs'
import { needs } from '../tools.ts'
import type { Accelerator } from './accelerator.ts'
import { findBusybox } from './busybox.ts'
import { buildInitramfs } from './initramfs.ts'
import { findKernel } from './kernel.ts'

/** A disk: an NBD export on a unix socket, or a raw image file. The first is /dev/vda, the node and the device `disk0`. */
export type GuestDisk = ({ socket: string; name: string } | { file: string }) & {
  /** The guest sees no write cache: each of its writes is then durable before it is answered. */
  writeThrough?: boolean
}

export interface GuestOptions {
  /** `writer` writes records to all disks, `boot` boots from the first, `idle` is just there. */
  role: 'writer' | 'boot' | 'idle'
  disks?: readonly GuestDisk[]
  /** After this record the writer removes the ballast and trims. */
  trim?: number
  /** More arguments for QEMU, such as a QMP socket. */
  args?: readonly string[]
}

/** Options for `test()`. */
export function needsGuest(): { skip: string | false } {
  return { skip: (!process.env.CI && missing()) || false }
}

/** Where this machine writes its console, and where its initramfs is to be put. */
export interface MachineFiles {
  log: string
  initramfs: string
}

/** QEMU's arguments; writes the initramfs. */
export function machine({ log, initramfs }: MachineFiles, options: GuestOptions, accel: Accelerator): string[] {
  const lack = missing()
  if (lack !== undefined) throw new Error(`a test guest ${lack}`)
  const { modules, vmlinuz } = findKernel()!
  writeFileSync(initramfs, buildInitramfs(modules, findBusybox()!))
  return [
    ...['-accel', accel, '-cpu', 'qemu64', '-m', '256', '-nodefaults', '-display', 'none', '-no-reboot'],
    ...['-kernel', vmlinuz, '-initrd', initramfs, '-append', commandLine(options)],
    ...['-chardev', `file,id=log,path=${log},append=on`, '-serial', 'chardev:log', '-serial', 'stdio'],
    ...(options.disks ?? []).flatMap(diskArgs),
    ...(options.args ?? []),
  ]
}

function missing(): string | undefined {
  const { skip } = needs('qemu-system-x86_64', 'busybox', 'mkfs.ext4', 'e2fsck', 'debugfs')
  if (skip) return skip
  if (process.arch !== 'x64') return 'needs an x86-64 host, for its busybox'
  if (findBusybox() === undefined) return 'needs a busybox that is linked statically'
  if (findKernel() === undefined) return 'needs a kernel: node test/support/guest/fetch-kernel.ts'
  return undefined
}

/**
 * printk.devkmsg=on: the kernel would else limit how much a process may say. no_timer_check: on a busy host the kernel
 * would else find at times that its timer does not work.
 */
function commandLine({ role, trim }: GuestOptions): string {
  return [
    'console=ttyS0 panic=-1 nokaslr no_timer_check printk.time=0 printk.devkmsg=on',
    `vmapipe.role=${role}`,
    trim === undefined ? '' : `vmapipe.trim=${trim}`,
  ].join(' ')
}

function diskArgs(disk: GuestDisk, index: number): string[] {
  const node = `disk${index}`
  const backend =
    'file' in disk
      ? { driver: 'file', filename: disk.file }
      : { driver: 'nbd', server: { type: 'unix', path: disk.socket }, export: disk.name, 'reconnect-delay': 30 }
  const device = { driver: 'virtio-blk-pci', id: node, drive: node, 'write-cache': disk.writeThrough ? 'off' : 'on' }
  return [
    ...['-blockdev', JSON.stringify({ ...backend, 'node-name': node, discard: 'unmap' })],
    ...['-device', JSON.stringify(device)],
  ]
}
