/** Finds the file of a loop device, and the loop devices of a file, by sysfs. */

import type { Stats } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { splitDevice } from './lock-holders.ts'

/** The file or device of this loop device. Null if it is no loop device, or if the file is unknown. */
export async function backingFile(device: Stats): Promise<string | null> {
  if (!device.isBlockDevice()) return null
  const [major, minor] = splitDevice(device.rdev)
  return readLine(`/sys/dev/block/${major}:${minor}/loop/backing_file`)
}

/** The paths of the loop devices of this file or device. */
export async function loopDevicesOf(stats: Stats): Promise<string[]> {
  const found: string[] = []
  for (const name of await readdir('/sys/block').catch(() => [])) {
    if (!name.startsWith('loop')) continue
    const behind = await readLine(`/sys/block/${name}/loop/backing_file`)
    const other = behind === null ? null : await stat(behind).catch(() => null)
    if (other !== null && isSame(stats, other)) found.push(`/dev/${name}`)
  }
  return found
}

/** Whether both are names of one file, or nodes of one device. */
function isSame(one: Stats, other: Stats): boolean {
  if (one.isBlockDevice() && other.isBlockDevice()) return one.rdev === other.rdev
  return one.dev === other.dev && one.ino === other.ino
}

async function readLine(path: string): Promise<string | null> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.trimEnd() || null
}
