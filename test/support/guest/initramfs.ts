/** The initramfs: busybox, the modules for virtio disks and SCSI ones, and init.sh, which knows the roles. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { APPLETS } from './busybox.ts'
import { cpio, type Entry } from './cpio.ts'
import { loadModules } from './modules.ts'

const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_scsi', 'sd_mod']

/** Its bytes, not compressed: handing 2 MB to the guest takes less time than unpacking them there. */
export function buildInitramfs(modules: string, busybox: Buffer): Buffer {
  const folders = ['bin', 'dev', 'modules', 'mnt', 'proc'].map((name) => ({ name, folder: true as const }))
  const applets = APPLETS.map((name) => ({ name: `bin/${name}`, link: 'busybox' }))
  const loaded = loadModules(modules, MODULES)
  const entries: Entry[] = [
    ...folders,
    { name: 'bin/busybox', data: busybox, mode: 0o755 },
    ...applets,
    ...loaded.map(({ name, data }) => ({ name: `modules/${name}.ko`, data })),
    { name: 'modules/order', data: Buffer.from(loaded.map(({ name }) => `${name}\n`).join('')) },
    { name: 'init', data: readFileSync(join(import.meta.dirname, 'init.sh')), mode: 0o755 },
  ]
  return cpio(entries)
}
