/** Restores a guest of libvirt whole. The XML, and all that reads it, is loaded when that is done. */

import type { RestoreDomainOptions, RestoreDomainResult } from './libvirt/domain-options.ts'

/**
 * Restores the guest of an archive and defines it in libvirt. The XML of the archive is reduced to what is harmless: `warn` is told what
 * is left out. When this resolves, all is in place; if it rejects, libvirt has no such domain, and no file of it is left, unless only
 * the start has failed. Errors: USAGE, FAILED (also if the archive has no guest of libvirt), DAMAGED, INCOMPLETE, ABORTED.
 *
 *     const { domain } = await restoreDomain({ from: 'vm.vma.zst', into: '/srv/images', name: 'web-restored', newUuid: true })
 *     console.log(domain.name, domain.uuid, domain.files)
 */
export async function restoreDomain(options: RestoreDomainOptions): Promise<RestoreDomainResult> {
  const { defineRestored } = await import('./libvirt/restore-domain.ts')
  return defineRestored(options)
}
