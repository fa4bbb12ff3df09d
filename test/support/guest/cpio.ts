/** An initramfs as the kernel wants it: cpio, format "newc" (Documentation/driver-api/early-userspace/buffer-format.rst). */

export type Entry = { name: string } & ({ data: Buffer; mode?: number } | { link: string } | { folder: true })

/** The archive; names are relative, and a folder comes before what is in it. */
export function cpio(entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap((entry, index) => encode(entry, index + 1))
  return Buffer.concat([...parts, ...member('TRAILER!!!', 0, 0, Buffer.alloc(0))])
}

function encode(entry: Entry, inode: number): Buffer[] {
  if ('folder' in entry) return member(entry.name, inode, 0o040755, Buffer.alloc(0))
  if ('link' in entry) return member(entry.name, inode, 0o120777, Buffer.from(entry.link))
  return member(entry.name, inode, 0o100000 | (entry.mode ?? 0o644), entry.data)
}

function member(name: string, inode: number, mode: number, data: Buffer): Buffer[] {
  const nameBytes = Buffer.from(`${name}\0`)
  // c_ino, c_mode, c_uid, c_gid, c_nlink, c_mtime, c_filesize, c_maj, c_min, c_rmaj, c_rmin, c_namesize, c_chksum
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, nameBytes.length, 0]
  const head = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`
  return [padded(Buffer.concat([Buffer.from(head), nameBytes])), padded(data)]
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)])
}
