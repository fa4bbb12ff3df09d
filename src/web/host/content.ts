/** What is in an archive, by its header. */

import type { CatalogEntry } from '../../catalog/entry.ts'
import { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError } from '../../core/errors.ts'
import { quickManifest } from '../../operations/quick-manifest.ts'
import type { ArchiveContent } from '../house.ts'

/** Milliseconds that reading a header may take. */
const READ_MS = 30_000

export async function contentOf(
  { place, guest, encrypted }: CatalogEntry,
  identity: readonly string[],
): Promise<ArchiveContent> {
  const nothing = { drives: [], configs: [], guest }
  if (encrypted && identity.length === 0 && !process.env.VMAPIPE_IDENTITY_FILE)
    return { ...nothing, problem: 'it is encrypted, and this host has no key for it' }
  const keys = encrypted ? new Keyring({ identities: [...identity] }) : undefined
  try {
    const { drives, configs } = await quickManifest({
      from: place,
      signal: AbortSignal.timeout(READ_MS),
      ...(keys && { keys }),
    })
    return {
      drives: drives.map(({ name, size }) => ({ name, size })),
      configs: configs.map(({ name }) => name),
      guest,
      problem: null,
    }
  } catch (error) {
    return { ...nothing, problem: asVmapipeError(error).text }
  }
}
