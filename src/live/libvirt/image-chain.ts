/**
 * The images that a disk of a shut-off guest is made of, as a block node of QEMU that names them all. An image's header may name any
 * file of the host as the one below it. So each header is read first, and what it names must be what the domain's XML names, or is
 * told to the user. qemu-nbd then opens these files, and no others.
 */

import { realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { attribute, type Element, find } from '../../machine/libvirt/xml.ts'
import { type ImageInfo, imageInfo } from '../../storage/image-info.ts'
import { IMAGE_FORMATS, type ImageFormat } from '../../storage/spec.ts'

/** Images of one chain. QEMU has no limit; libvirt has 200. */
const MOST = 200

export interface ChainLink {
  path: string
  format: ImageFormat | 'raw'
}

/** The images from the disk's own down. `store`: the `backingStore` element of its XML. Throws FAILED for what must not be opened. */
export async function imageChain(
  first: ChainLink,
  store: Element | undefined,
  signal?: AbortSignal,
): Promise<ChainLink[]> {
  const links = [first]
  for (let [at, named] = [first, store]; at.format !== 'raw'; ) {
    if (links.length > MOST)
      throw new VmapipeError('FAILED', `more than ${MOST} images one below the other`, { file: first.path })
    const info = await imageInfo(at.format, at.path, signal)
    await refuseOtherFiles(info, at)
    const next = below(info, at, named)
    if (next === null) return links
    links.push(next)
    at = next
    named = named && find(named, 'backingStore')
    await refuseOtherThan(next, links.at(-2)!)
  }
  return links
}

/** Options for QEMU that open exactly these images. */
export async function chainNode(links: readonly ChainLink[]): Promise<object> {
  let node: object | null = null
  for (const { path, format } of links.toReversed()) {
    const driver = (await stat(path)).isBlockDevice() ? 'host_device' : 'file'
    node = {
      driver: format,
      file: { driver, filename: path },
      ...(format !== 'raw' && hasBacking(format) && { backing: node }),
    }
  }
  return node!
}

/** Formats whose images can be over others. */
function hasBacking(format: ImageFormat): boolean {
  return ['qcow2', 'qcow', 'qed', 'vmdk'].includes(format)
}

/** Whether the image is in another folder than the one above it. */
export function isElsewhere(link: ChainLink, above: ChainLink): boolean {
  return dirname(link.path) !== dirname(above.path)
}

function below({ backing }: ImageInfo, at: ChainLink, named: Element | undefined): ChainLink | null {
  const isEnd = named !== undefined && attribute(named, 'type') === undefined
  if (backing === undefined) return null
  const { path } = backing
  if (isEnd) throw refused(at, `names the image '${path}' below it, and the domain's XML says that there is none`)
  if (!path.startsWith('/')) throw refused(at, `is over '${path}', which is no file`)
  const source = named && find(named, 'source')
  const wanted = attribute(source, 'file') ?? attribute(source, 'dev')
  if (named !== undefined && wanted !== path)
    throw refused(at, `names the image '${path}' below it, and the domain's XML names '${wanted ?? 'another kind'}'`)
  const format = attribute(named && find(named, 'format'), 'type') ?? backing.format
  if (format === undefined)
    throw refused(
      at,
      `does not say which format the image '${path}' below it has`,
      `qemu-img rebase -u -F FORMAT -b '${path}' says it`,
    )
  return { path, format: knownFormat(format, path) }
}

/** A guest cannot write headers, but images come from others too: a device, a pipe or a file of the system is no image. */
async function refuseOtherThan({ path }: ChainLink, above: ChainLink): Promise<void> {
  const real = await realpath(path).catch((cause) => {
    throw new VmapipeError('FAILED', `the image below '${above.path}' cannot be opened: ${cause.message}`, {
      file: path,
      cause,
    })
  })
  const stats = await stat(real)
  if (!(stats.isFile() || stats.isBlockDevice()) || /^\/(proc|sys|etc)\//.test(real))
    throw refused(above, `names '${path}' as the image below it, which is none`)
}

async function refuseOtherFiles(
  { hasDataFile, extents, encryption }: ImageInfo,
  { path, format }: ChainLink,
): Promise<void> {
  if (hasDataFile) throw refused({ path, format }, 'has its data in another file')
  const other = extents.find((file) => file !== path && dirname(file) !== dirname(path))
  if (other !== undefined) throw refused({ path, format }, `has data in '${other}', in another folder`)
  if (encryption !== undefined) throw refused({ path, format }, 'is encrypted', 'back it up while the guest runs')
}

export function knownFormat(format: string, path: string): ImageFormat | 'raw' {
  const known = (['raw', ...IMAGE_FORMATS] as const).find((one) => one === format)
  if (known !== undefined) return known
  throw new VmapipeError('FAILED', `images of the format '${format}' cannot be read`, {
    file: path,
    hint: 'back it up while the guest runs',
  })
}

function refused(
  { path }: ChainLink,
  reason: string,
  hint = 'back it up by its path: vmapipe backup -d NAME=qcow2:PATH',
): VmapipeError {
  return new VmapipeError('FAILED', `the image '${path}' ${reason}`, { file: path, hint })
}
