/** What an image says of itself and of the images below it, without opening those. The format is named, never guessed. */

import { once } from 'node:events'
import { VmapipeError } from '../core/errors.ts'
import { spawnTied } from '../system/child.ts'
import { fileName, requireProgram } from './qemu-nbd.ts'

export interface ImageInfo {
  /** Bytes of the disk. */
  size: number
  /** Path of the image below, and its format if it is recorded. */
  backing?: { path: string; format?: string }
  /** Whether the data is in another file, as the header says. */
  hasDataFile: boolean
  /** Paths of the files that a VMDK is made of. */
  extents: string[]
  /** What encrypts it: "luks", "aes". */
  encryption?: string
}

/** Bytes of `qemu-img info` that are read: far more than it says of one image. */
const MAX_ANSWER = 1 << 20

/** Throws FAILED with the message of qemu-img. Takes no lock, and changes nothing. */
export async function imageInfo(format: string, path: string, signal?: AbortSignal): Promise<ImageInfo> {
  const args = ['info', '--output=json', '--force-share', '-f', format, '--', fileName(path)]
  const child = spawnTied(requireProgram('qemu-img'), args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    signal,
  })
  let said = ''
  let answer = ''
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    said = (said + text).slice(-4096)
  })
  child.stdout!.setEncoding('utf8').on('data', (text) => {
    if (answer.length < MAX_ANSWER) answer += text
  })
  const [code] = await once(child, 'close')
  if (code !== 0)
    throw new VmapipeError('FAILED', said.trim().replaceAll('\n', '; ') || 'qemu-img failed', { file: path })
  return parsed(JSON.parse(answer))
}

function parsed(info: any): ImageInfo {
  const data = info['format-specific']?.data ?? {}
  const backing = info['full-backing-filename'] ?? info['backing-filename']
  const format = info['backing-filename-format']
  return {
    size: Number(info['virtual-size']),
    ...(typeof backing === 'string' && { backing: { path: backing, ...(typeof format === 'string' && { format }) } }),
    hasDataFile: data['data-file'] !== undefined,
    extents: Array.isArray(data.extents) ? data.extents.map((extent: { filename: string }) => extent.filename) : [],
    ...(info.encrypted && { encryption: String(data.encrypt?.format ?? 'yes') }),
  }
}
