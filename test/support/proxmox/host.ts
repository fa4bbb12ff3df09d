/** A host of Proxmox as far as a backup sees it: a folder with storages, images and configs. */

import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeImage } from '../image.ts'
import { tmpDir } from '../tmp.ts'

export interface ProxmoxHost {
  dir: string
  /** Path of its storage.cfg. */
  storages: string
  /** Folder for archives, with a slash at its end. */
  dump: string
  /** Writes the config of guest 100, and gives its path. */
  config(...lines: string[]): string
  /** Makes an image of guest 100 in the storage `local`, and gives its path. */
  image(name: string, size: number): string
}

export function proxmoxHost(t: { after(hook: () => void): void }): ProxmoxHost {
  const dir = tmpDir(t)
  const [images, dump] = [join(dir, 'vz/images/100'), join(dir, 'dump')]
  mkdirSync(images, { recursive: true })
  mkdirSync(dump)
  const storages = join(dir, 'storage.cfg')
  const text = ['dir: local', `\tpath ${join(dir, 'vz')}`, '\tcontent images,backup', '', 'rbd: ceph', '\tpool rbd', '']
  writeFileSync(storages, text.join('\n'))
  return {
    dir,
    storages,
    dump: `${dump}/`,
    config(...lines) {
      const path = join(dir, '100.conf')
      writeFileSync(path, `${lines.join('\n')}\n`)
      return path
    },
    image(name, size) {
      const path = join(images, name)
      const raw = name.endsWith('.qcow2') ? `${path}.tmp` : path
      writeImage(raw, size, { noise: 200_000, tail: 3000 })
      if (raw !== path) execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path])
      return path
    },
  }
}
