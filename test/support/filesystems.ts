/** Filesystems to try: each makes itself, mounts itself, and goes with the test. They need root. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmdirSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { loopDevice } from './loop-device.ts'
import { SSH_HOST, startSshd } from './sshd.ts'
import { tmpDir } from './tmp.ts'
import { which } from './tools.ts'

export interface Filesystem {
  /** Programs that it needs. */
  programs: string[]
  /** As /proc/filesystems names it: the kernel must have it. */
  kernel: string
  /** Mounts a new, empty one; gives the folder. */
  mount(t: TestContext): Promise<string>
}

const MIB = 1 << 20

/** One on a loop device. */
function onDisk(kernel: string, make: string[], size: number, mount = ['mount', '-t', kernel]): Filesystem {
  return {
    programs: [make[0], mount[0], 'losetup'],
    kernel: mount[0] === 'mount' ? kernel : 'fuse',
    async mount(t) {
      const target = mountPoint(t)
      const image = join(tmpDir(t), 'image')
      writeFileSync(image, '')
      truncateSync(image, size)
      execFileSync(make[0], [...make.slice(1), image], { stdio: 'ignore' })
      execFileSync(mount[0], [...mount.slice(1), loopDevice(t, image), target], { stdio: 'ignore' })
      return target
    },
  }
}

/** Asked for first: what is under it can be removed only when it is unmounted. */
function mountPoint(t: TestContext): string {
  const target = mkdtempSync(join(tmpdir(), 'vmapipe-mount-'))
  t.after(() => {
    spawnSync('umount', ['-l', target])
    rmdirSync(target)
  })
  return target
}

export const FILESYSTEMS: Record<string, Filesystem> = {
  ext4: onDisk('ext4', ['mkfs.ext4', '-q'], 64 * MIB),
  xfs: onDisk('xfs', ['mkfs.xfs', '-q'], 300 * MIB),
  btrfs: onDisk('btrfs', ['mkfs.btrfs', '-q'], 128 * MIB),
  vfat: onDisk('vfat', ['mkfs.vfat'], 64 * MIB),
  exfat: onDisk('exfat', ['mkfs.exfat'], 64 * MIB),
  'exfat by FUSE': onDisk('exfat', ['mkfs.exfat'], 64 * MIB, ['mount.exfat-fuse']),
  'ntfs-3g': onDisk('ntfs', ['mkfs.ntfs', '-F', '-Q'], 64 * MIB, ['ntfs-3g']),
  tmpfs: {
    programs: ['mount'],
    kernel: 'tmpfs',
    async mount(t) {
      const target = mountPoint(t)
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', target])
      return target
    },
  },
  bindfs: {
    programs: ['bindfs'],
    kernel: 'fuse',
    async mount(t) {
      const target = mountPoint(t)
      execFileSync('bindfs', [tmpDir(t), target])
      return target
    },
  },
  sshfs: {
    programs: ['sshfs', 'sshd', 'ssh', 'ssh-keygen'],
    kernel: 'fuse',
    async mount(t) {
      const target = mountPoint(t)
      const { home } = await startSshd(t)
      execFileSync('sshfs', ['-o', `ssh_command=${which('ssh')}`, `${SSH_HOST}:${home}`, target], { stdio: 'pipe' })
      return target
    },
  },
}

export function kernelHas(name: string): boolean {
  return new RegExp(`^(nodev)?\\t${name}$`, 'm').test(readFileSync('/proc/filesystems', 'utf8'))
}
