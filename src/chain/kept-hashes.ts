/**
 * Finds the hashes of an archive's clusters: its own, or those that were kept when the archive was first read for them. An archive has
 * none if it was made by another program, without checksums, or where compiled code for BLAKE3 was missing.
 */

import { stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { ArchiveHashes } from '../access/archive-hashes.ts'
import { endOf } from '../access/end-checksum.ts'
import { type AddHashes, type HashedArchive, HashFile, type HashReader, writeHashFile } from '../access/hash-file.ts'
import type { OpenFile } from '../access/open-file.ts'
import type { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError } from '../core/errors.ts'
import type { ClusterItem } from '../core/items.ts'
import { definePipeline } from '../core/pipeline.ts'
import { type BoundStage, defineStage, z } from '../core/stage.ts'
import { clusterHasher } from '../formats/vma/cluster-hash.ts'
import { decompressor } from '../stages/decompressor.ts'
import { decryptor } from '../stages/decryptor.ts'
import { source } from '../stages/source.ts'
import { vmaDeframer } from '../stages/vma-deframer.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { makeFolder } from '../storage/folder.ts'

interface KeptHashesOptions {
  /** The place of the archive. */
  place: string
  keys?: Keyring
  threads?: number
  signal?: AbortSignal
  /** Memory for the pass over the archive. */
  buffer: number
  warn: (message: string) => void
}

export interface OpenHashes extends HashReader {
  close(): Promise<void>
}

/**
 * The hashes of an open archive. If they are nowhere, the archive is read as a whole, and they are kept in ARCHIVE.hashes beside it, or
 * in the folder for caches if that cannot be written. Null if they can be kept in neither, or the archive is damaged; a warning says why.
 */
export async function hashesOf(file: OpenFile, options: KeptHashesOptions): Promise<OpenHashes | null> {
  const own = await ArchiveHashes.of(file)
  if (own !== null) return { read: (drive, first, count) => own.read(drive, first, count), close: async () => {} }
  const { warn, place, signal } = options
  const archive = await hashedArchive(file, place)
  const paths = pathsFor(archive, place)
  for (const path of paths) {
    try {
      const kept = await HashFile.open(path, archive)
      if (kept !== null) return kept
    } catch (error) {
      warn(`'${path}' is not used: ${asVmapipeError(error).line}`)
    }
  }
  warn(`'${place}' has no hashes of its clusters: it is read once, and they are kept for the next backup`)
  for (const path of paths) {
    try {
      await makeFolder(dirname(path))
      await writeHashFile(path, archive, (add) => hashAll(add, options))
      return await HashFile.open(path, archive)
    } catch (error) {
      signal?.throwIfAborted()
      const { code, line } = asVmapipeError(error)
      warn(`hashes are not kept in '${path}': ${line}`)
      if (code === 'DAMAGED' || code === 'INCOMPLETE') break
    }
  }
  return null
}

async function hashedArchive(file: OpenFile, place: string): Promise<HashedArchive> {
  const parsed = parsePlace(place)
  const mtime = parsed.kind === 'file' ? (await stat(parsed.path, { bigint: true })).mtimeNs : 0n
  return { manifest: file.manifest, end: await endOf(file), size: file.bytes.size, mtime }
}

/** Where the hashes may be, the best place first. */
function pathsFor({ manifest, end }: HashedArchive, place: string): string[] {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'vmapipe')
  const name = `${Buffer.from(manifest.uuid).toString('hex')}-${Buffer.from(end).toString('hex')}.hashes`
  const parsed = parsePlace(place)
  return [...(parsed.kind === 'file' ? [`${parsed.path}.hashes`] : []), join(cache, name)]
}

/** Reads the archive from its beginning to its end, and adds the hashes of all its stored clusters. */
async function hashAll(add: AddHashes, options: KeptHashesOptions): Promise<void> {
  const { place, keys, threads, signal, buffer, warn } = options
  const stages = [source({ from: place }), decryptor({ keys }), decompressor({}), vmaDeframer({}), await hashing(add)]
  await definePipeline(stages).run({ threads, signal, buffer, warn })
}

async function hashing(add: AddHashes): Promise<BoundStage> {
  const hasher = await clusterHasher()
  const write = async (item: ClusterItem) => {
    if (item.kind === 'manifest') return
    try {
      if (item.isZero) return
      // What the deframer gives has masks.
      await add(item.drive, item.first, item.hashes ?? hasher.hashes(item.masks!, item.blocks))
    } finally {
      item.release()
    }
  }
  return defineStage({
    name: 'hash-keeper',
    summary: 'keeps the hashes of clusters',
    input: 'clusters',
    output: 'nothing',
    options: z.strictObject({}),
    create: () => ({ write }),
  })()
}
