/** The files of a tar stream that comes from a filesystem of a guest. */

import type { Readable } from 'node:stream'
import { extract } from 'tar-stream'
import { textOf } from '../../core/byte-text.ts'
import { VmapipeError } from '../../core/errors.ts'
import { type EntryType, type FileItem, plainPath } from './entry.ts'

const TYPES: Record<string, EntryType> = {
  file: 'file',
  'contiguous-file': 'file',
  directory: 'folder',
  symlink: 'symlink',
  link: 'hardlink',
}

/** `base`: the path of the folder that the names count from. Throws FAILED for a name that leads out of it. */
export async function* tarItems(tar: Readable, base: string): AsyncGenerator<FileItem> {
  // Names are bytes: whatever they are, they stay as they are.
  const entries = extract({ filenameEncoding: 'latin1' } as object)
  tar.on('error', (error) => entries.destroy(error))
  tar.pipe(entries)
  for await (const entry of entries) {
    const { name, type, mode = 0, uid = 0, gid = 0, size = 0, mtime, linkname } = entry.header
    const hard = type === 'link'
    yield {
      path: within(base, fromLatin1(name)),
      type: TYPES[type ?? 'file'] ?? 'other',
      mode: mode & 0o7777,
      ...{ uid, gid, size },
      mtime: mtime === undefined ? 0 : mtime.getTime() / 1000,
      ...(linkname && { link: hard ? within(base, fromLatin1(linkname)) : fromLatin1(linkname) }),
      content: entry as AsyncIterable<Uint8Array>,
    }
    entry.resume()
  }
}

function fromLatin1(text: string): string {
  return textOf(Buffer.from(text, 'latin1'))
}

function within(base: string, name: string): string {
  const plain = plainPath(name)
  if (plain === null) throw new VmapipeError('FAILED', `the name '${name}' leads out of its folder`)
  return [base, plain].filter((part) => part !== '').join('/')
}
