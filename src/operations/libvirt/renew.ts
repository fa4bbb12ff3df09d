/**
 * Gives a guest a new QEMU when its live restore goes on after a kill. The guest's memory is saved and loaded again, so the guest notices
 * a short pause, and requests that had failed are made again.
 *
 * The reason is a fault of QEMU (seen with 7.2): if a block job fails because what is below the image goes away while the guest waits for
 * a read there, a node of the job stays behind without children. QEMU then crashes when it lists its nodes, as libvirt asks it to at the
 * end of the next job.
 */

import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { Virsh } from '../../protocol/libvirt/virsh.ts'

/** Does nothing if the guest is off, and starts it if its memory was saved by a run that was killed just here. */
export async function renew(virsh: Virsh, uuid: string, inform: (message: string) => void): Promise<void> {
  const domain = `--domain=${uuid}`
  if (await virsh.isActive(uuid)) {
    const state = await virsh.run('domstate', domain, '--reason')
    const isPausedByUser = /paused \((user|unknown)\)/.test(state)
    await virsh.run('managedsave', domain, isPausedByUser ? '--paused' : '--running').catch((error) => {
      const { code, message } = asVmapipeError(error)
      throw new VmapipeError(
        code,
        `the guest cannot be given a new QEMU, because its memory cannot be saved: ${message}`,
        {
          hint: 'shut the guest down; then the same command completes its images',
          cause: error,
        },
      )
    })
  } else if (!/^Managed save:\s*yes/m.test(await virsh.run('dominfo', domain))) return
  await virsh.run('start', domain)
  inform('the guest goes on in a new QEMU')
}
