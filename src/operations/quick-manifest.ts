/**
 * Reads the manifest of an archive for commands that need nothing else. The header of an uncompressed file is read as it stands;
 * only if there is another thing, or an error to tell of, the pipeline that can read all archives is loaded.
 */

import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { Keyring } from '../codecs/age/keyring.ts'
import type { Manifest } from '../core/items.ts'
import { decodeHeader, HEADER_START, headerSize } from '../formats/vma/header.ts'
import { parseVolumeName } from '../storage/archive/volumes/names.ts'

interface QuickOptions {
  /** A path, `-`, or another place of an archive. */
  from: string
  signal: AbortSignal
  /** What opens the archive if it is encrypted. */
  keys?: Keyring
}

/** The same as `readManifest`. */
export async function quickManifest(options: QuickOptions): Promise<Manifest> {
  const plain = await plainManifest(options.from)
  if (plain !== null) return plain
  const { readManifest } = await import('./manifest.ts')
  return readManifest(options)
}

/** Null if it is no file with the whole header of an archive at its start: then the pipeline tells what it is. */
async function plainManifest(path: string): Promise<Manifest | null> {
  if (path === '-' || path.endsWith('/') || /^[^/]*:/.test(path) || parseVolumeName(path) !== null) return null
  let file: FileHandle | null = null
  try {
    // O_NONBLOCK: opening a FIFO does not wait for its writer.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    if (!(await file.stat()).isFile()) return null
    const size = headerSize(await readStart(file, HEADER_START))
    return decodeHeader(await readStart(file, size))
  } catch {
    return null
  } finally {
    await file?.close()
  }
}

async function readStart(file: FileHandle, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0)
  return buffer.subarray(0, bytesRead)
}
