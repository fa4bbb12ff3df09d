/**
 * A disk that boots by itself, as that of a real guest: a boot loader, the kernel of the test guest, and a small system in its initramfs.
 * What the system does is a word on the kernel's command line.
 */

import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { tmpDir } from '../tmp.ts'
import { needs, which } from '../tools.ts'
import { findBusybox } from './busybox.ts'
import { cpio, type Entry } from './cpio.ts'
import { findKernel } from './kernel.ts'
import { needsGuest } from './machine.ts'
import { loadModules } from './modules.ts'

/** What the system does when it has booted. */
export type Behaviour =
  /** The guest agent runs. */
  | 'agent'
  /** A login on the screen and on the serial console, with a cursor that blinks. */
  | 'login'
  /** A screen that changes all the time, and nothing else. */
  | 'busy'
  /** The same picture as a login, and nothing that reads what is typed: the kernel echoes it nevertheless. */
  | 'stuck'
  | 'panic'
  | 'off'
  | 'restart'
  /** Writes to its disk until it is full. */
  | 'fill'

const INIT = `#!/bin/busybox sh
PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
while read -r module; do insmod "/modules/$module.ko"; done </modules/order
for word in $(cat /proc/cmdline); do case $word in behaviour=*) what=\${word#*=} ;; esac; done
show() { printf "$1" >/dev/tty1; printf "$1" >/dev/ttyS0; }
case $what in
agent) for port in /dev/vport*; do /bin/qemu-ga -m virtio-serial -p "$port" -t /run & done ;;
login) show 'small system\\n\\n'; while :; do show 'guest login: '; read -r name </dev/tty1; done ;;
busy) while :; do printf "line $((n += 1))\\n" >/dev/tty1; done ;;
stuck) show 'small system\\n\\nguest halted '; exec sleep 100000 ;;
panic) sleep 1; exit 1 ;;
off) poweroff -f ;;
restart) reboot -f ;;
fill) for disk in /dev/vda /dev/sda; do [ -b $disk ] && cat /dev/urandom >$disk; done ;;
esac
sleep 100000
`

const DISK_BYTES = 128 << 20
const PARTITION = 1 << 20

/** Options for `test()`. */
export function needsBootable(firmware: 'bios' | 'uefi'): { skip: string | false } {
  const programs = firmware === 'bios' ? ['syslinux'] : ['grub-mkstandalone']
  const lists = [needsGuest(), needs('qemu-ga', 'mcopy', 'mkfs.vfat', 'sfdisk', ...programs)]
  return lists.find(({ skip }) => skip) ?? { skip: false }
}

/** Makes `image`, a raw disk. */
export function makeBootable(
  t: { after(hook: () => void): void },
  image: string,
  { firmware, behaviour }: { firmware: 'bios' | 'uefi'; behaviour: Behaviour },
): void {
  const dir = tmpDir(t)
  const run = (program: string, args: string[], input?: string) =>
    execFileSync(which(program)!, args, { input, stdio: ['pipe', 'ignore', 'pipe'] })
  writeFileSync(image, '')
  truncateSync(image, DISK_BYTES)
  const table =
    firmware === 'bios' ? 'label: dos\nstart=1MiB, type=e, bootable' : 'label: gpt\nstart=1MiB, size=126MiB, type=U'
  run('sfdisk', ['-q', image], `${table}\n`)
  const kilobytes = (126 << 20) / 1024
  run('mkfs.vfat', ['-F', '16', '--offset', String(PARTITION / 512), image, String(kilobytes)])
  const initramfs = join(dir, 'initrd')
  writeFileSync(initramfs, buildInitramfs(behaviour === 'agent'))
  const inside = `${image}@@${PARTITION}`
  run('mcopy', ['-i', inside, findKernel()!.vmlinuz, '::vmlinuz'])
  run('mcopy', ['-i', inside, initramfs, '::initrd'])
  const words = `console=ttyS0 console=tty0 loglevel=3 nokaslr no_timer_check panic=-1 behaviour=${behaviour}`
  const config = join(dir, 'config')
  if (firmware === 'bios') {
    writeFileSync(config, `default linux\nlabel linux\nkernel vmlinuz\ninitrd initrd\nappend ${words}\n`)
    run('mcopy', ['-i', inside, config, '::syslinux.cfg'])
    run('syslinux', ['--install', '--offset', String(PARTITION), image])
    const disk = openSync(image, 'r+')
    writeSync(disk, readFileSync('/usr/lib/syslinux/mbr/mbr.bin'), 0, 440, 0)
    closeSync(disk)
    return
  }
  const efi = join(dir, 'BOOTX64.EFI')
  writeFileSync(config, `search --set=root --file /vmlinuz\nlinux /vmlinuz ${words}\ninitrd /initrd\nboot\n`)
  const modules = 'part_gpt fat linux normal search boot'
  const without = ['--locales=', '--fonts=', '--themes=']
  const grub = ['-O', 'x86_64-efi', '-o', efi, `--modules=${modules}`, `--install-modules=${modules}`, ...without]
  run('grub-mkstandalone', [...grub, `boot/grub/grub.cfg=${config}`])
  run('mmd', ['-i', inside, '::EFI', '::EFI/BOOT'])
  run('mcopy', ['-i', inside, efi, '::EFI/BOOT/BOOTX64.EFI'])
}

/** An initramfs with busybox, perhaps the guest agent, and what they need. Small, as it is read by a BIOS that is emulated. */
function buildInitramfs(hasAgent: boolean): Buffer {
  const agent = which('qemu-ga')!
  const modules = loadModules(findKernel()!.modules, ['virtio_pci', 'virtio_blk', 'virtio_console'])
  const programs = ['cat', 'insmod', 'mount', 'poweroff', 'printf', 'reboot', 'sh', 'sleep']
  const files: Entry[] = [
    { name: 'bin/busybox', data: findBusybox()!, mode: 0o755 },
    ...programs.map((name) => ({ name: `bin/${name}`, link: 'busybox' })),
    ...(hasAgent ? [{ name: 'bin/qemu-ga', data: readFileSync(agent), mode: 0o755 }] : []),
    ...(hasAgent ? libraries(agent) : []).map((path) => ({
      name: path.slice(1),
      data: readFileSync(path),
      mode: 0o755,
    })),
    ...modules.map(({ name, data }) => ({ name: `modules/${name}.ko`, data })),
    { name: 'modules/order', data: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')) },
    { name: 'init', data: Buffer.from(INIT), mode: 0o755 },
  ]
  const folders = new Set(['dev', 'proc', 'run'])
  for (const { name } of files) for (let up = dirname(name); up !== '.'; up = dirname(up)) folders.add(up)
  return cpio([...[...folders].sort().map((name) => ({ name, folder: true as const })), ...files])
}

/** What the dynamic linker loads with the program. */
function libraries(program: string): string[] {
  const lines = execFileSync('ldd', [program], { encoding: 'utf8' }).split('\n')
  return lines.flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? [])
}
