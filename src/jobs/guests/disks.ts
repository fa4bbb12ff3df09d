/** The disks of this host that the images of a guest are on, for limits of each. */

import { execFile } from 'node:child_process'
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { promisify } from 'node:util'
import { environment } from '../../protocol/qmp/virsh-shell.ts'
import type { Guest } from './guest.ts'

const LIST_MS = 30_000

/** Names of block devices such as `sda`. What is on none of them, or not known, is on no disk. */
export async function disksOf({ source }: Guest, signal: AbortSignal): Promise<string[]> {
  const paths =
    source.kind === 'drives'
      ? Object.values(source.drives)
      : source.kind === 'libvirt'
        ? await imagesOf(source.domain, source.connect, signal)
        : []
  const disks = await Promise.all(paths.map((path) => diskOf(path.replace(/^[a-z0-9]+:(?!\/\/)/, ''))))
  return [...new Set(disks.filter((disk) => disk !== null))].sort()
}

/** The disk that a file is on, or that a device is or is a part of. */
async function diskOf(path: string): Promise<string | null> {
  try {
    const stats = await stat(path)
    const device = stats.isBlockDevice() ? stats.rdev : stats.dev
    const [major, minor] = [(device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00)]
    const found = await realpath(`/sys/dev/block/${major}:${minor}`)
    const above = basename(dirname(found))
    // A partition is in the folder of its disk.
    return above === 'block' ? basename(found) : above
  } catch {
    return null
  }
}

async function imagesOf(domain: string, connect: string | undefined, signal: AbortSignal): Promise<string[]> {
  try {
    const args = ['-q', 'domblklist', `--domain=${domain}`]
    const { stdout } = await promisify(execFile)('virsh', args, { env: environment(connect), timeout: LIST_MS, signal })
    return stdout
      .split('\n')
      .map((line) => /^\s*\S+\s+(\/.*)$/.exec(line)?.[1])
      .filter((path) => path !== undefined)
  } catch {
    return []
  }
}
