/**
 * A disk that boots by itself, with a BIOS and with UEFI: one FAT filesystem with a kernel, an initramfs, syslinux, and a script for the
 * shell of UEFI. What boots says on the console which machine it is on, and switches it off.
 */

import { execFileSync } from 'node:child_process'
import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { needs } from '../tools.ts'
import { APPLETS, findBusybox } from './busybox.ts'
import { cpio } from './cpio.ts'
import { findKernel } from './kernel.ts'
import { needsGuest } from './machine.ts'
import { loadModules } from './modules.ts'

const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_scsi', 'sd_mod', 'virtio_net', 'nvme']
const MiB = 1 << 20

/** Options for `test()`. */
export function needsTellingDisk(): { skip: string | false } {
  const tools = needs('syslinux', 'mformat', 'mcopy')
  return tools.skip ? tools : needsGuest()
}

/** Writes the disk. The initramfs is on it, and needs no other disk. */
export function makeTellingDisk(path: string, dir: string): void {
  const { modules, vmlinuz } = findKernel()!
  const initramfs = join(dir, 'initramfs')
  writeFileSync(initramfs, systemOf(modules))
  const files = {
    'syslinux.cfg':
      'default linux\nlabel linux\n  kernel vmlinuz\n  initrd initrd\n  append console=ttyS0 panic=-1 no_timer_check\n',
    'startup.nsh': 'fs0:\r\nvmlinuz initrd=initrd console=ttyS0 panic=-1 no_timer_check\r\n',
  }
  writeFileSync(path, '')
  truncateSync(path, 48 * MiB)
  // A geometry as of a hard disk: syslinux would take anything else for a floppy.
  execFileSync('mformat', ['-i', path, '-h', '16', '-s', '63', '-T', String((48 * MiB) / 512), '::'])
  execFileSync('syslinux', ['--install', path])
  execFileSync('mcopy', ['-i', path, vmlinuz, '::vmlinuz'])
  execFileSync('mcopy', ['-i', path, initramfs, '::initrd'])
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(dir, name), text)
    execFileSync('mcopy', ['-i', path, join(dir, name), `::${name}`])
  }
}

function systemOf(folder: string): Buffer {
  const modules = loadModules(folder, MODULES)
  return cpio([
    ...['bin', 'dev', 'modules', 'proc', 'sys'].map((name) => ({ name, folder: true as const })),
    ...[...new Set([...APPLETS, 'cat', 'ls', 'nproc', 'insmod', 'mount', 'poweroff', 'sleep'])].map((name) => ({
      name: `bin/${name}`,
      link: 'busybox',
    })),
    { name: 'bin/busybox', data: findBusybox()!, mode: 0o755 },
    ...modules.map(({ name, data }) => ({ name: `modules/${name}.ko`, data })),
    { name: 'modules/order', data: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')) },
    { name: 'init', data: Buffer.from(INIT), mode: 0o755 },
  ])
}

const INIT = `#!/bin/busybox sh
PATH=/bin
mount -t devtmpfs none /dev; mount -t proc none /proc; mount -t sysfs none /sys
exec >/dev/ttyS0 2>&1
while read -r module; do insmod "/modules/$module.ko" || echo "FAIL module $module"; done </modules/order
firmware=bios; [ -d /sys/firmware/efi ] && firmware=uefi
tries=0; until ls /sys/class/net/eth0 >/dev/null 2>&1 || [ $tries -ge 50 ]; do sleep 0.1; tries=$((tries + 1)); done
sleep 1
disks=
for disk in /sys/block/vd* /sys/block/sd* /sys/block/nvme*; do [ -e "$disk/size" ] && disks="$disks,\${disk##*/}=$(cat "$disk/size")"; done
echo "BOOTED firmware=$firmware mac=$(cat /sys/class/net/eth0/address) uuid=$(cat /sys/class/dmi/id/product_uuid) processors=$(nproc) disks=$disks end"
poweroff -f
`
