/** Small disks for a machine without a guest in it. */

import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Empty raw images of so many bytes in `dir`; gives their paths by name. */
export function rawImages<Name extends string>(
  dir: string,
  names: readonly Name[],
  size = 1 << 20,
): Record<Name, string> {
  return Object.fromEntries(
    names.map((name) => {
      const path = join(dir, `${name}.raw`)
      writeFileSync(path, '')
      truncateSync(path, size)
      return [name, path]
    }),
  ) as Record<Name, string>
}

/** `-blockdev` of a file, and a device on it. */
export function fileDrive(node: string, path: string, device: string, options = ''): string[] {
  return [...['-blockdev', `driver=file,node-name=${node},filename=${path}${options}`], ...['-device', device]]
}

/** `-drive` without an interface, and a device on it. */
export function legacyDrive(id: string, path: string, device: string, options = ''): string[] {
  return ['-drive', `if=none,id=${id},file=${path},format=raw${options}`, '-device', device]
}
