import type { Command } from 'commander'
import { type CommonFlags, common, examples } from '../flags.ts'
import { interruptible } from '../signals.ts'
import { noteLine } from '../text.ts'

interface Flags extends CommonFlags {
  qmp?: string
  libvirt?: string
  connect?: string
  bitmaps?: boolean
}

export function detachCommand(program: Command): void {
  const command = program
    .command('detach')
    .summary('remove from a QEMU what a killed backup left in it')
    .description(
      'Removes from QEMU the filters, exports and nodes of a `vmapipe backup --qmp` that was killed. The guest keeps ' +
        'running. If the killed backup had paused it, it is continued. A backup does the same before it begins.',
    )
    .option('--qmp <socket>', "the guest's QMP socket")
    .option('--libvirt <domain>', 'the guest by its name in libvirt, through virsh')
    .option('--connect <uri>', "with --libvirt: the URI of libvirt; virsh's own choice by default")
    .option('--bitmaps', 'remove the dirty bitmaps of vmapipe too; the next incremental backup then reads all')
    .action(run)
  examples(common(command), 'vmapipe detach --qmp /run/vm1.qmp')
}

async function run({ qmp, libvirt, connect, bitmaps }: Flags): Promise<void> {
  const { detach } = await import('../../operations/detach.ts')
  const { signal, dispose } = interruptible()
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const warn = (message: string) => say(noteLine('warning', message))
  try {
    const { removed, continued, paused } = await detach({ qmp, libvirt, connect, bitmaps, signal, warn })
    say(removed.length === 0 ? 'nothing was left there' : `removed ${removed.join(', ')}`)
    if (continued) say('the guest was paused by the backup that was killed; it runs again')
    else if (removed.length > 0 && paused)
      say('the guest is paused; if nobody wanted that, the QMP command `cont` continues it')
  } finally {
    dispose()
  }
}
