/** libguestfs with the kernel of the test guest, as a host in a container has none of its own. */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE, findKernel, KERNEL_CACHE } from './guest/kernel.ts'
import { needs } from './tools.ts'

/** Options for `test()`. */
export function needsLibguestfs(): { skip: string | false } {
  const tools = needs('guestfish', 'supermin', 'depmod', 'qemu-system-x86_64')
  if (tools.skip || process.env.CI) return tools
  if (findKernel(KERNEL_CACHE) === undefined) return { skip: 'needs a kernel: node test/support/guest/fetch-kernel.ts' }
  // supermin looks there, whatever kernel it is given.
  return { skip: existsSync('/lib/modules') ? false : 'needs a folder /lib/modules, if only an empty one' }
}

/** Environment for it. The appliance is made once, in the cache. */
export function libguestfsEnvironment(): Record<string, string> {
  const { version, vmlinuz, modules } = findKernel(KERNEL_CACHE)!
  if (!existsSync(join(modules, 'modules.dep'))) execFileSync('depmod', ['-b', KERNEL_CACHE, version])
  const cache = join(CACHE, 'libguestfs')
  mkdirSync(cache, { recursive: true })
  return {
    ...{ SUPERMIN_KERNEL: vmlinuz, SUPERMIN_MODULES: modules, LIBGUESTFS_CACHEDIR: cache },
    // That /dev/kvm is there says little.
    LIBGUESTFS_BACKEND_SETTINGS: 'force_tcg',
    LIBGUESTFS_BACKEND: 'direct',
  }
}
