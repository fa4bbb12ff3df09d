/** Restores an archive into a folder, and writes a script there that boots the guest again with a stock QEMU. */

import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { VmapipeError } from '../core/errors.ts'
import type { Manifest } from '../core/items.ts'
import { restoreNames } from '../formats/vma/names.ts'
import { machineIn } from '../machine/known.ts'
import type { ScriptImage } from '../machine/qemu/disks.ts'
import { qemuScript, RUN_SH } from '../machine/qemu/script.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { parseMode } from '../storage/file-mode.ts'
import { createRawFile } from '../storage/raw-drive.ts'
import { DamagedArchive } from './archive-report.ts'
import { readManifest } from './manifest.ts'
import type { OperationResult } from './operation.ts'
import { type RestoreOptions, restore } from './restore.ts'

/** Of the options of `restore`, the folder must be given. All images are raw. */
export type RestoreQemuOptions = RestoreOptions & { into: string }

/**
 * Restores all of an archive into a folder, as `restore` does, and writes `run.sh` there. An archive that says nothing of its guest is
 * refused before anything is written, unless it can only be read once. Errors: those of `restore`; DAMAGED if what the archive says of
 * the guest makes no sense.
 *
 *     await restoreQemu({ from: 'vm.vma.zst', into: 'vm' })
 *     // sh vm/run.sh
 */
export async function restoreQemu(options: RestoreQemuOptions): Promise<OperationResult> {
  const { from, into, force, salvage } = options
  if (!force && (await lstat(join(into, RUN_SH)).catch(() => null)) !== null)
    throw new VmapipeError('USAGE', `'${join(into, RUN_SH)}' exists`, { hint: 'add --force to overwrite it' })
  if (typeof from === 'string' && ['file', 's3', 'ssh'].includes(parsePlace(from).kind)) {
    const { keys, signal } = options
    const manifest = await readManifest({ from, ...(keys && { keys }), ...(signal && { signal }) })
    await scriptFor(manifest, () => {})
  }
  try {
    const result = await restore({ ...options, format: 'raw' })
    await writeScript(result.manifest, options)
    return result
  } catch (error) {
    // The images have their names: a guest may well boot from them.
    if (salvage && error instanceof DamagedArchive) await writeScript(error.report.manifest, options)
    throw error
  }
}

async function writeScript(
  manifest: Manifest,
  { into, force, mode = '0600', warn }: RestoreQemuOptions,
): Promise<void> {
  const bytes = Buffer.from(await scriptFor(manifest, (note) => warn?.(`${RUN_SH}: ${note}`)))
  const how = { mode: executable(mode), ...(force && { force }), ...(warn && { warn }) }
  const writer = await createRawFile(join(into, RUN_SH), bytes.length, how)
  try {
    await writer.write([bytes], 0)
    await writer.flush()
    await writer.publish('')
  } finally {
    await writer.close()
  }
}

/** Who may read the images may boot the guest. */
function executable(mode: string): number {
  const bits = parseMode(mode)
  return bits | ((bits & 0o444) >> 2)
}

async function scriptFor(manifest: Manifest, note: (text: string) => void): Promise<string> {
  const machine = await machineIn(manifest.configs)
  if (machine === null)
    throw new VmapipeError('FAILED', 'the archive does not say what machine the guest had, so no script can be made', {
      hint: 'restore without --qemu; backups of running guests have a guest.json',
    })
  if (manifest.configs.some(({ name }) => name === RUN_SH))
    throw new VmapipeError('DAMAGED', `the archive has a config file called ${RUN_SH}, as the script is to be`)
  const { text, notes } = qemuScript(machine, imagesOf(manifest, note))
  for (const line of notes) note(line)
  return text
}

/** The files of the folder, by what they are called in the archive. */
function imagesOf(manifest: Manifest, note: (text: string) => void): ScriptImage[] {
  const { drives, configs } = restoreNames(manifest)
  const files = [
    ...manifest.drives.map(({ id, name, size }) => ({ drive: name, file: drives.get(id)!, size })),
    ...manifest.configs.flatMap(({ name, data }, index) => {
      const file = configs[index]
      return file === null ? [] : [{ drive: name, file, size: data.byteLength }]
    }),
  ]
  return files.filter(({ drive, file }) => {
    if (file.isWellFormed()) return true
    note(`the name of ${drive} cannot be written into a script: left out`)
    return false
  })
}
