/** Serves the drives of an archive as NBD exports: read-only, or writable with an overlay for the changes. */

import { join } from 'node:path'
import type { Archive } from '../access/archive.ts'
import { Budget } from '../core/budget.ts'
import { asVmapipeError, typableName, VmapipeError } from '../core/errors.ts'
import type { DriveInfo, Manifest } from '../core/items.ts'
import { address, checkOptions, names, type Shape, text } from '../core/options.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import { z } from '../core/stage.ts'
import { driveNamed, restoreNames } from '../formats/vma/names.ts'
import type { ServiceStatus } from '../live/control/controlled-service.ts'
import { DiskFailures } from '../live/disk-failures.ts'
import { Service, type ServiceOptions } from '../live/service.ts'
import type { SocketFileOptions } from '../protocol/socket-file.ts'
import type { Disk } from '../storage/disk.ts'
import { openOverlay } from '../storage/disks/overlay/open-overlay.ts'
import { OverlayDisk } from '../storage/disks/overlay/overlay-disk.ts'
import { ReaderDisk } from '../storage/disks/reader-disk.ts'
import { makeDurableFolder } from '../storage/folder.ts'
import { openArchive } from './open-archive.ts'
import { type RandomReadingOptions, randomReadingShape } from './random-reading.ts'

/** Which drives are exported, and where guests connect. */
export interface ExportOptions
  extends RandomReadingOptions,
    Pick<ServiceOptions, 'socket' | 'socketAccess' | 'listen' | 'control'> {
  /** Names of the drives; all by default. */
  drives?: string[]
  /** The folder for what guests write. It is made if it does not exist. Without it the exports are read-only. */
  overlay?: string
}

const shape = {
  ...randomReadingShape,
  socket: text,
  socketAccess: z.custom<SocketFileOptions>((value) => typeof value === 'object'),
  listen: address,
  control: text,
  drives: names,
  overlay: text,
} satisfies Shape<ExportOptions>

/**
 * Makes NBD exports of the drives of an archive, which guests read, and write if there is an overlay. Call its `start`.
 * Opens the archive and its drives. If it fails, nothing is left open. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     const exports = await exportArchive({ from: 'vm.vma.zst', socket: '/run/vm1.nbd', overlay: 'written' })
 *     await exports.start()
 *     await exports.stop()
 */
export async function exportArchive(options: ExportOptions): Promise<ArchiveExport> {
  checkOptions('exportArchive', { shape, required: ['from'] }, options)
  const { from, drives, parents, spool, keys, buffer = DEFAULT_BUDGET, signal, warn } = options
  const how = { parents, spool, keys, signal, warn }
  const archive = await openArchive(from, { budget: new Budget(buffer), only: drives, ...how })
  const disks = new Map<string, Disk>()
  try {
    const chosen = chooseDrives(archive.manifest, drives)
    if (options.overlay !== undefined) await makeDurableFolder(options.overlay)
    for (const drive of chosen) disks.set(typableName(drive.name), await openExport(archive, drive, options.overlay))
    return new ArchiveExport(archive, disks, options)
  } catch (error) {
    for (const disk of disks.values()) await disk.close()
    await archive.close()
    throw error
  }
}

/** The drives of an archive as NBD exports. See exportArchive. */
export class ArchiveExport {
  readonly #archive: Archive
  readonly #disks: ReadonlyMap<string, Disk>
  readonly #service: Service

  constructor(
    archive: Archive,
    disks: ReadonlyMap<string, Disk>,
    { socket, socketAccess, listen, control, warn }: ExportOptions,
  ) {
    this.#archive = archive
    this.#disks = disks
    const failures = new DiskFailures(warn)
    const nbd = { onDiskError: failures.note.bind(failures) }
    this.#service = new Service({ drives: Object.fromEntries(disks), socket, socketAccess, listen, control, nbd })
  }

  get manifest(): Manifest {
    return this.#archive.manifest
  }

  /** Resolves when guests can connect. If it fails, nothing is left open. */
  async start(): Promise<void> {
    await this.#service.start().catch(async (error) => {
      await this.#close()
      throw error
    })
  }

  get port(): number | undefined {
    return this.#service.port
  }

  get status(): ServiceStatus {
    return this.#service.status
  }

  /** Answers the requests that have come, makes durable what was written, and closes everything. */
  async stop(): Promise<void> {
    try {
      await this.#service.stop()
    } finally {
      await this.#close()
    }
  }

  async #close(): Promise<void> {
    for (const disk of this.#disks.values()) await disk.close()
    await this.#archive.close()
  }
}

/** Finds the drives of these names, in the order of the archive. Throws USAGE for a name that the archive does not have. */
function chooseDrives({ drives }: Manifest, names: readonly string[] | undefined): DriveInfo[] {
  const wanted = names?.map((name) => driveNamed(drives, name))
  const unknown = wanted?.indexOf(undefined) ?? -1
  if (unknown >= 0) {
    throw new VmapipeError('USAGE', `the archive has no drive '${names![unknown]}'`, {
      hint: `it has ${drives.map(({ name }) => name).join(', ') || 'none'}`,
    })
  }
  const chosen = wanted === undefined ? drives : drives.filter((drive) => wanted.includes(drive))
  if (chosen.length === 0) throw new VmapipeError('USAGE', 'the archive has no drives')
  return chosen
}

/** Opens a drive of an archive for guests: read-only, or writable with an overlay in this folder. */
export async function openExport(archive: Archive, { id, name, size }: DriveInfo, overlay?: string): Promise<Disk> {
  const reader = archive.drive(name)
  if (overlay === undefined) return new ReaderDisk(reader)
  const { uuid } = archive.manifest
  const file = join(overlay, `${typableName(restoreNames(archive.manifest).drives.get(id)!)}.overlay`)
  try {
    return new OverlayDisk(reader, await openOverlay(file, { purpose: 'overlay', uuid, drive: id, size }))
  } catch (error) {
    const failure = asVmapipeError(error)
    failure.where.drive ??= name
    throw failure
  }
}
