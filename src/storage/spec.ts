/**
 * Parses how a drive is named:
 *
 *   PATH, raw:PATH               a raw image file or a block device
 *   qcow2:PATH, vmdk:PATH, ...   an image of this format
 *   nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH
 *
 * The format is named, never guessed. For a guest can write the magic of any format into its raw disk, and with it the name of any
 * file of the host.
 */

import { VmapipeError } from '../core/errors.ts'
import { type NbdAddress, parseNbdUri } from '../protocol/nbd/uri.ts'

/** Formats that a qemu-nbd serves, by its names. */
export const IMAGE_FORMATS = ['qcow2', 'qcow', 'qed', 'vmdk', 'vdi', 'vhdx', 'vpc', 'parallels'] as const
export type ImageFormat = (typeof IMAGE_FORMATS)[number]

type DriveSpec =
  | { kind: 'raw'; path: string }
  | { kind: 'image'; format: ImageFormat; path: string }
  | { kind: 'nbd'; address: NbdAddress }

/** `./qcow2:x` and `/qcow2:x` are paths; `qcow2:x` is not. */
export function parseDriveSpec(text: string): DriveSpec {
  if (text.includes('\0')) throw new VmapipeError('USAGE', 'a path cannot contain a NUL character')
  const [, scheme, rest] = /^([A-Za-z][\w+]*):(.*)$/s.exec(text) ?? []
  if (scheme === undefined) return { kind: 'raw', path: nonEmpty(text, text) }
  if (scheme === 'raw') return { kind: 'raw', path: nonEmpty(rest, text) }
  if (isImageFormat(scheme)) return { kind: 'image', format: scheme, path: nonEmpty(rest, text) }
  if (/^nbds?(\+\w+)?$/.test(scheme)) return { kind: 'nbd', address: parseNbdUri(text) }
  if (rest.startsWith('//')) {
    throw new VmapipeError('USAGE', `no such kind of drive: ${scheme}`, { hint: 'nbd:// and nbd+unix:// are known' })
  }
  // The name of a file may have a colon: "vm:1.raw".
  return { kind: 'raw', path: text }
}

function isImageFormat(scheme: string): scheme is ImageFormat {
  return (IMAGE_FORMATS as readonly string[]).includes(scheme)
}

function nonEmpty(path: string, text: string): string {
  if (path === '') throw new VmapipeError('USAGE', `no path in the drive '${text}'`)
  return path
}
