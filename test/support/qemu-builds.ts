/**
 * The QEMUs that live backups are tested with: the one that is installed, and a newer one that `fetch-qemu.ts` unpacks
 * beside it. VMAPIPE_QEMU_NEW names another folder with a usr/bin/qemu-system-x86_64.
 */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { needs } from './tools.ts'

export interface QemuBuild {
  /** For the name of a test. */
  name: string
  /** The folder that it is unpacked in; undefined: it is on the PATH. */
  root?: string
}

export const QEMU_CACHE = join(import.meta.dirname, '../../node_modules/.cache/vmapipe-qemu')

export const INSTALLED: QemuBuild = { name: 'the installed QEMU' }
export const NEWER: QemuBuild = { name: 'a newer QEMU', root: process.env.VMAPIPE_QEMU_NEW ?? QEMU_CACHE }
export const QEMU_BUILDS = [INSTALLED, NEWER]

export type QemuProgram = 'qemu-system-x86_64' | 'qemu-storage-daemon'

/** The command of one of its programs. */
export function qemuProgram({ root }: QemuBuild, name: QemuProgram): string {
  return root === undefined ? name : join(root, 'usr/bin', name)
}

/** Arguments for its qemu-system-x86_64: an unpacked one does not look for its firmware beside itself. */
export function firmwareArgs({ root }: QemuBuild): string[] {
  return root === undefined ? [] : ['qemu', 'seabios'].flatMap((folder) => ['-L', join(root, 'usr/share', folder)])
}

/** Options for `test()`, like those of `needs`. */
export function needsQemu(build: QemuBuild, name: QemuProgram): { skip: string | false } {
  if (build.root === undefined) return needs(name)
  if (process.env.CI || existsSync(qemuProgram(build, name))) return { skip: false }
  return { skip: 'needs a newer QEMU: node test/support/fetch-qemu.ts' }
}
