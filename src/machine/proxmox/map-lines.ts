/**
 * The lines of `qemu-server.conf` in an archive that say which drive of the archive is which of the guest. Without one for each drive,
 * `qmrestore` refuses the archive.
 */

export interface MapLine {
  /** Key of the drive in the config: `scsi0`. */
  key: string
  /** Name of the drive in the archive. */
  drive: string
  /** Name of the storage that it was on; empty if it was on none. */
  storage: string
  /** `raw`, `qcow2`, `vmdk`; empty if it is not known. */
  format: string
}

const LINE = /^#qmdump#map:([^\s:]+):([^\s:]+):([^\s:]*):([^\s:]*):$/

export function mapLine({ key, drive, storage, format }: MapLine): string {
  return `#qmdump#map:${key}:${drive}:${storage}:${format}:`
}

/** All map lines of a config, of whoever wrote it. What is no such line is left out. */
export function mapLinesIn(text: string): MapLine[] {
  return text.split('\n').flatMap((line) => {
    const [, key, drive, storage, format] = LINE.exec(line.replace(/\r$/, '')) ?? []
    return key === undefined ? [] : [{ key, drive, storage, format }]
  })
}
