/**
 * A disk that boots by itself, as that of an installed system does: with a BIOS by syslinux, with UEFI by the shell of the firmware.
 * It has the kernel and the initramfs of the test guest, which then runs the system of the next disk.
 */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { needs, which } from '../tools.ts'
import { findBusybox } from './busybox.ts'
import { buildInitramfs } from './initramfs.ts'
import { findKernel } from './kernel.ts'

const BYTES = 40 * 2 ** 20

/** Options for `test()`. */
export function needsBootDisk(): { skip: string | false } {
  return needs('syslinux', 'mcopy', 'mkfs.vfat')
}

/** `self`, `root`: what the guest calls this disk, and the one with its system. `role`: what the guest does, see init.sh. */
export function makeBootDisk(image: string, { self = 'vda', root = 'vdb', role = 'boot' } = {}): void {
  const dir = mkdtempSync(join(dirname(image), 'boot-'))
  const { vmlinuz, modules } = findKernel()!
  const words = 'console=ttyS0 panic=-1 nokaslr no_timer_check printk.time=0 printk.devkmsg=on'
  const line = `${words} vmapipe.role=${role} vmapipe.disks=1 vmapipe.root=${root} vmapipe.skip=${self}`
  try {
    writeFileSync(join(dir, 'initrd'), buildInitramfs(modules, findBusybox()!))
    writeFileSync(
      join(dir, 'syslinux.cfg'),
      `default a\nprompt 0\nlabel a\n kernel vmlinuz\n append initrd=initrd ${line}\n`,
    )
    writeFileSync(join(dir, 'startup.nsh'), `fs0:\r\nvmlinuz.efi initrd=\\initrd ${line}\r\n`)
    writeFileSync(image, '')
    truncateSync(image, BYTES)
    const run = (program: string, ...args: string[]) =>
      execFileSync(which(program)!, args, {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...process.env, MTOOLS_SKIP_CHECK: '1' },
      })
    run('mkfs.vfat', image)
    const put = (from: string, name: string) => run('mcopy', '-i', image, from, `::${name}`)
    for (const name of ['initrd', 'syslinux.cfg', 'startup.nsh']) put(join(dir, name), name)
    put(vmlinuz, 'vmlinuz')
    put(vmlinuz, 'vmlinuz.efi')
    run('syslinux', '--install', image)
  } finally {
    rmSync(dir, { recursive: true })
  }
}
