/** Puts the state of a TPM where libvirt starts swtpm. */

import { chmod, link, lstat, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { asVmapipeError } from '../../core/errors.ts'
import type { ConfigFile } from '../../core/items.ts'
import { defaultTpmState } from '../../machine/libvirt/tpm-state.ts'

interface PlacedState {
  /** Removes it, and puts back what was there. */
  takeBack(): Promise<void>
}

/**
 * The folder is made of the uuid alone, so nothing of the archive's paths is followed. libvirt gives it to swtpm's user when the guest
 * starts. Null, with a warning, if it cannot be written: the guest then gets a new TPM.
 */
export async function placeTpmState(
  { name, data }: ConfigFile,
  { version, uuid }: { version: string; uuid: string },
  warn: (message: string) => void,
): Promise<PlacedState | null> {
  const folder = defaultTpmState(version, uuid)
  const path = join(folder, name)
  const before = `${path}.before-restore`
  try {
    await mkdir(dirname(folder), { mode: 0o711, recursive: true })
    await mkdir(folder, { mode: 0o700, recursive: true })
    const isThere = (await lstat(path).catch(() => null)) !== null
    const partial = `${path}.vmapipe`
    await rm(partial, { force: true })
    const file = await open(partial, 'wx', 0o600)
    try {
      await file.writeFile(data)
      await file.sync()
    } finally {
      await file.close()
    }
    await chmod(partial, 0o600)
    if (isThere) {
      await rm(before, { force: true })
      await link(path, before)
      warn(`the state that the guest's TPM had is kept as '${before}'`)
    }
    await rename(partial, path)
    const takeBack = () => (isThere ? rename(before, path) : rm(path, { force: true }))
    return { takeBack }
  } catch (error) {
    warn(`the state of the TPM is left out: it cannot be written to '${folder}': ${asVmapipeError(error).message}`)
    return null
  }
}
