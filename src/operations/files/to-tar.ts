/** Writes files of a guest as a tar stream, as they are: with owners, permissions, symlinks and devices left to the program that unpacks it. */

import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { pack } from 'tar-stream'
import { printable } from '../../core/errors.ts'
import type { FileItem } from './entry.ts'

/** How much was packed. Bytes are those of the files' contents. */
export interface Packed {
  files: number
  bytes: number
}

/** Ends when `to` has taken all; `to` itself is left open. Devices, pipes and sockets are left out, as their numbers are not known. */
export async function packInto(
  to: Writable,
  items: AsyncIterable<FileItem>,
  warn: (message: string) => void,
): Promise<Packed> {
  const tar = pack()
  const outcome: Packed = { files: 0, bytes: 0 }
  const pumped = pump(tar as AsyncIterable<Uint8Array>, to)
  pumped.catch((error) => tar.destroy(error as Error))
  try {
    for await (const item of items) {
      const { path, type, mode, uid, gid, size, mtime, link } = item
      if (type === 'other') {
        warn(`'/${path}' is a device, a pipe or a socket: left out`)
        continue
      }
      if (path === '') continue
      const name = nameOf(path, warn)
      const kinds = { file: 'file', folder: 'directory', symlink: 'symlink', hardlink: 'link' } as const
      const header = {
        ...{ name: type === 'folder' ? `${name}/` : name, type: kinds[type], mode, uid, gid },
        // The largest time of a tar's header.
        mtime: new Date(Math.min(Math.max(0, mtime), 0o77777777777) * 1000),
        ...(link !== undefined && { linkname: nameOf(link, warn) }),
      }
      if (type !== 'file') {
        tar.entry({ ...header, size: 0 })
        continue
      }
      const entry = tar.entry({ ...header, size })
      let length = 0
      for await (const bytes of item.content) {
        length += bytes.byteLength
        if (!entry.write(bytes)) await Promise.race([once(entry, 'drain'), pumped])
      }
      entry.end(undefined)
      outcome.files++
      outcome.bytes += length
    }
    tar.finalize()
    await pumped
    return outcome
  } catch (error) {
    tar.destroy(error as Error)
    throw error
  }
}

async function pump(tar: AsyncIterable<Uint8Array>, to: Writable): Promise<void> {
  for await (const bytes of tar) if (!to.write(bytes)) await once(to, 'drain')
}

/** A tar of today has names in UTF-8. */
function nameOf(path: string, warn: (message: string) => void): string {
  if (path.isWellFormed()) return path
  warn(`'/${path}' is not UTF-8: its name in the tar is '${printable(path)}'`)
  return printable(path)
}
