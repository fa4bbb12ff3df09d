/**
 * Opens an archive with all its parents, down to a full one. A parent is the archive that has the uuid and the checksum of its end that
 * its child names, whatever its file is called. Only headers and indexes are read.
 */

import { type Archive, OpenArchive } from '../access/archive.ts'
import { ArchiveDrive } from '../access/archive-drive.ts'
import { endOf } from '../access/end-checksum.ts'
import type { Layer } from '../access/layers.ts'
import { type OpenFile, type OpenFileOptions, openFile } from '../access/open-file.ts'
import { ChainMemory } from '../access/reading-memory.ts'
import { Budget } from '../core/budget.ts'
import { asVmapipeError, printable, VmapipeError } from '../core/errors.ts'
import { clusterCount } from '../core/geometry.ts'
import type { DriveInfo, Manifest, ParentRecord } from '../core/items.ts'
import { uuidText } from '../formats/vma/header.ts'
import { driveNamed } from '../formats/vma/names.ts'
import { hex } from './beginning.ts'
import { ParentSearch } from './search.ts'
import { rewritten, type TemporaryOptions } from './temporary.ts'

/** The most archives of a chain. Each takes a file descriptor and an index in memory. */
const MOST_ARCHIVES = 1000

/** One archive of a chain. */
export interface ChainMember {
  /** The place of the archive. */
  place: string
  manifest: Manifest
  /** Its file and index. */
  file: OpenFile
}

export interface ChainOptions extends OpenFileOptions {
  /** Folders and archives where parents are looked for, before the folder of the last archive. */
  parents?: readonly string[] | undefined
  /** The folder for archives that must be rewritten or copied to be read in any order. */
  spool?: string | undefined
}

/** All archives of a chain, the newest first. */
export class Chain {
  readonly members: readonly ChainMember[]
  readonly #memory: ChainMemory
  readonly #closers: readonly (() => Promise<void>)[]
  readonly #layers = new Map<DriveInfo, Layer[]>()
  #closed: Promise<void> | null = null

  constructor(members: readonly ChainMember[], memory: ChainMemory, closers: readonly (() => Promise<void>)[]) {
    this.members = members
    this.#memory = memory
    this.#closers = closers
  }

  get manifest(): Manifest {
    return this.members[0].manifest
  }

  /** The chain as one archive. */
  get archive(): Archive {
    return new OpenArchive(
      this.manifest,
      (info) => new ArchiveDrive(info, this.layersOf(info)),
      () => this.close(),
    )
  }

  /**
   * The archives that have a drive of the newest one, which is the first. Drives are the same if they have the same name. The drives of
   * the parents of an archive without the drive do not count: if a drive is removed and added again, it is another one.
   */
  layersOf(info: DriveInfo): Layer[] {
    const known = this.#layers.get(info)
    if (known !== undefined) return known
    const bases = this.#bases()
    const layers: Layer[] = []
    for (const [depth, { manifest, file }] of this.members.entries()) {
      const drive = depth === 0 ? info : driveNamed(manifest.drives, info.name)
      if (drive === undefined) break
      layers.push({ parts: file.parts, id: drive.id, clusters: clusterCount(drive.size), base: bases[depth] })
    }
    this.#layers.set(info, layers)
    return layers
  }

  /** Memory for clusters that are kept until their turn. Call it once, before anything is read. */
  spareMemory(): Budget {
    return this.#memory.spare()
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** The number of extents of all older archives, for each archive. */
  #bases(): number[] {
    let sum = 0
    return this.members
      .toReversed()
      .map(({ file }) => {
        const base = sum
        sum += file.parts.index.extents
        return base
      })
      .reverse()
  }

  async #close(): Promise<void> {
    for (const close of this.#closers) await close()
  }
}

/** Opens the chain whose last archive is at `path`. Errors: those of openFile; DAMAGED if a parent is missing or is another one. */
export async function openChain(path: string, options: ChainOptions): Promise<Chain> {
  const opener = new ChainOpener(path, options)
  try {
    return await opener.open()
  } catch (error) {
    await opener.close()
    throw error
  }
}

class ChainOpener {
  readonly #path: string
  readonly #options: ChainOptions
  readonly #capacity: number
  readonly #memory: ChainMemory
  readonly #search: ParentSearch
  readonly #members: ChainMember[] = []
  readonly #closers: (() => Promise<void>)[] = []

  constructor(path: string, options: ChainOptions) {
    const { budget, threads, parents = [], keys, signal } = options
    this.#path = path
    this.#options = options
    this.#capacity = budget.capacity
    const memory = new ChainMemory(budget, threads)
    this.#memory = memory
    this.#closers.push(() => memory.close())
    this.#search = new ParentSearch({ beside: path, places: parents, keys, signal })
  }

  async open(): Promise<Chain> {
    const seen = new Set<string>()
    let member = await this.#openAt(this.#path)
    for (;;) {
      this.#members.push(member)
      const { manifest } = member
      seen.add(hex(manifest.uuid))
      const parent = manifest.record?.parent ?? null
      if (parent === null) return new Chain(this.#members, this.#memory, this.#closers)
      if (seen.has(hex(parent.uuid))) throw wrongChain(member, 'the chain of its parents goes round in a ring')
      if (seen.size === MOST_ARCHIVES) throw wrongChain(member, `the chain has more than ${MOST_ARCHIVES} archives`)
      member = await this.#parentOf(member, parent)
    }
  }

  async close(): Promise<void> {
    for (const close of this.#closers) await close()
  }

  get #temporary(): TemporaryOptions {
    const { spool, ...options } = this.#options
    return { ...options, folder: spool, buffer: this.#capacity }
  }

  /** The parent, by its uuid and the checksum of its end. */
  async #parentOf(child: ChainMember, parent: ParentRecord): Promise<ChainMember> {
    const others: string[] = []
    let broken: VmapipeError | null = null
    for await (const place of this.#search.find(hex(parent.uuid))) {
      try {
        const found = await this.#openAt(place)
        if (Buffer.compare(await endOf(found.file), parent.end) === 0) return found
        others.push(place)
        await this.#closers.pop()!()
      } catch (error) {
        // Another file may be a copy that is whole.
        broken ??= brokenParent(child, place, error)
        if (broken.code !== 'DAMAGED' && broken.code !== 'INCOMPLETE') throw broken
      }
    }
    throw broken ?? missingParent(child, parent, others)
  }

  async #openAt(place: string): Promise<ChainMember> {
    const settled = { ...this.#options, chain: this.#memory, budget: new Budget(this.#capacity) }
    let file = await openFile(place, settled)
    if (typeof file === 'string') {
      const { path, close } = await rewritten(place, file, this.#temporary)
      this.#closers.push(close)
      file = await openFile(path, settled)
      if (typeof file === 'string') throw new VmapipeError('FAILED', file, { file: place })
    }
    const { close } = file
    this.#closers.push(close)
    file.parts.place = place
    return { place, manifest: file.manifest, file }
  }
}

function wrongChain({ place }: ChainMember, what: string): VmapipeError {
  return new VmapipeError('DAMAGED', `${what}`, {
    file: place,
    hint: 'make a full archive: vmapipe backup without --since',
  })
}

function missingParent(child: ChainMember, { uuid, ctime }: ParentRecord, others: readonly string[]): VmapipeError {
  const name = `${uuidText(uuid)} of ${timeOf(ctime)}`
  const what =
    others.length === 0
      ? `the parent of '${printable(child.place)}' was not found: ${name}`
      : `'${printable(others[0])}' has the uuid of the parent of '${printable(child.place)}', but is another archive, or was changed`
  return new VmapipeError('DAMAGED', what, {
    hint: 'name its folder, or the archive, with --parents; nothing was written',
  })
}

function brokenParent(child: ChainMember, place: string, error: unknown): VmapipeError {
  const { code, message, where, hint, cause } = asVmapipeError(error)
  const what = `the parent of '${printable(child.place)}' cannot be used: ${message}`
  return new VmapipeError(code, what, { ...where, file: place, hint, cause: cause ?? error })
}

function timeOf(ctime: number): string {
  const date = new Date(ctime * 1000)
  return Number.isNaN(date.getTime()) ? `${ctime} seconds since 1970` : date.toISOString()
}
