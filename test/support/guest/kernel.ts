/**
 * The kernel of the test guest: a distribution's own, unpacked but not installed. `fetch-kernel.ts` puts one into the
 * cache; VMAPIPE_GUEST_KERNEL names another folder, `/` for the host's own.
 */

import { existsSync, globSync } from 'node:fs'
import { basename, join } from 'node:path'

export const CACHE = join(import.meta.dirname, '../../../node_modules/.cache/vmapipe-guest')
export const KERNEL_CACHE = join(CACHE, 'kernel')

export interface Kernel {
  version: string
  /** The bootable image. */
  vmlinuz: string
  /** The folder of this version's modules. */
  modules: string
}

/** The newest kernel that has both an image and modules; undefined where there is none. */
export function findKernel(root = process.env.VMAPIPE_GUEST_KERNEL ?? KERNEL_CACHE): Kernel | undefined {
  return globSync('boot/vmlinuz-*', { cwd: root })
    .map((image) => basename(image).slice('vmlinuz-'.length))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
    .flatMap((version) =>
      ['lib/modules', 'usr/lib/modules']
        .map((folder) => join(root, folder, version))
        .filter((modules) => existsSync(join(modules, 'kernel')))
        .map((modules) => ({ version, vmlinuz: join(root, 'boot', `vmlinuz-${version}`), modules })),
    )[0]
}
