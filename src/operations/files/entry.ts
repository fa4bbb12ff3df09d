/** Files of a guest as they come out of a filesystem. Every name may be hostile. */

/** What an entry is; `other` is a device, a pipe or a socket. */
export type EntryType = 'file' | 'folder' | 'symlink' | 'hardlink' | 'other'

/** A file, a folder or a link in a filesystem of a guest. */
export interface FileEntry {
  /** From the root of the filesystem, without a slash at the beginning: "etc/hosts"; text as of `textOf`. Empty for the root. */
  path: string
  type: EntryType
  /** Permissions, with setuid and its like. */
  mode: number
  uid: number
  gid: number
  /** Bytes. */
  size: number
  /** Last-modified time in seconds since the epoch. */
  mtime: number
  /** Of a symlink, what it says; of a hard link, the path of the other file. */
  link?: string
}

/** A file's entry with its content, which must be read before the next entry comes. */
export interface FileItem extends FileEntry {
  content: AsyncIterable<Uint8Array>
}

/** A path as a user or an archive gives it, from the root; null if it leads out of it. */
export function plainPath(path: string): string | null {
  if (path.includes('\0')) return null
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  return parts.includes('..') ? null : parts.join('/')
}
