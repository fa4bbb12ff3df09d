/** Restores the config files of an archive, and no drives. Only the header of the archive is read. */

import { rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { checkOptions, flag, type Shape, text } from '../core/options.ts'
import { restoreNames } from '../formats/vma/names.ts'
import type { DriveWriter } from '../storage/drive.ts'
import { folderMode, parseMode } from '../storage/file-mode.ts'
import { makeDurableFolder } from '../storage/folder.ts'
import { createRawFile } from '../storage/raw-drive.ts'
import { readManifest } from './manifest.ts'
import { type ReadingOptions, readingShape } from './read-archive.ts'

/** What is read, and the folder for it. */
export interface RestoreConfigsOptions extends ReadingOptions {
  /** The folder. It is made if it does not exist. */
  into: string
  /** Overwrites files that exist. */
  force?: boolean
  /** Permissions of the files, such as `0640`. By default only their owner may read and write them. */
  mode?: string
}

const shape = { ...readingShape, into: text, force: flag, mode: text } satisfies Shape<RestoreConfigsOptions>

/**
 * Writes the config files of an archive into a folder. Resolves with their names there when they are durable. If one cannot be written,
 * none is there. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     const names = await restoreConfigs({ from: 'vm.vma.zst', into: 'configs' })
 *     console.log(names.join(' '))
 */
export async function restoreConfigs(options: RestoreConfigsOptions): Promise<string[]> {
  checkOptions('restoreConfigs', { shape, required: ['from', 'into'] }, options)
  const { into, force, mode: permissions = '0600', ...reading } = options
  const mode = parseMode(permissions)
  const manifest = await readManifest(reading)
  const { configs: names, notes } = restoreNames(manifest)
  for (const note of notes) options.warn?.(note)
  const made = await makeDurableFolder(into, folderMode(mode))
  const writers: DriveWriter[] = []
  const written: string[] = []
  try {
    for (const [index, { data }] of manifest.configs.entries()) {
      const name = names[index]
      if (name === null) continue
      const how = { mode, ...(force && { force }), ...(options.warn && { warn: options.warn }) }
      const writer = await createRawFile(join(into, name), data.byteLength, how)
      writers.push(writer)
      if (data.byteLength > 0) await writer.write([data], 0)
      await writer.flush()
      written.push(name)
    }
    for (const writer of writers) await writer.publish('')
  } finally {
    for (const writer of writers) await writer.close()
    // A folder that has something in it stays.
    for (const folder of made) await rmdir(folder).catch(() => {})
  }
  return written
}
