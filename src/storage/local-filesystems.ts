/** Filesystems of the kernel that are on disks or in the memory of this machine, by their numbers of statfs(2) ("f_type"). */
export const LOCAL_FILESYSTEMS: Record<string, number> = {
  ext4: 0xef53,
  xfs: 0x58465342,
  btrfs: 0x9123683e,
  tmpfs: 0x01021994,
  vfat: 0x4d44,
  exfat: 0x2011bab0,
  f2fs: 0xf2f52010,
  zfs: 0x2fc12fc1,
  bcachefs: 0xca451a4e,
  ntfs3: 0x7366746e,
  // The root of most containers.
  overlay: 0x794c7630,
}

const local = new Set(Object.values(LOCAL_FILESYSTEMS))

/** Whether all processes of this machine that see a file on a filesystem of this type see its locks too. */
export function isLocal(type: number): boolean {
  return local.has(type >>> 0)
}

/**
 * Whether calls on a filesystem of this type may take as long as a network does, as NFS and FUSE must ask a server or a process. The
 * calls of others take a microsecond. The layers of an overlay may be on any filesystem.
 */
export function isRemote(type: number): boolean {
  return !isLocal(type) || type >>> 0 === LOCAL_FILESYSTEMS.overlay
}
