import type { Command } from 'commander'
import { type CommonFlags, common, examples } from '../flags.ts'
import { interruptible } from '../signals.ts'
import { noteLine } from '../text.ts'

interface Flags extends CommonFlags {
  qmp?: string
  libvirt?: string
}

export function detachCommand(program: Command): void {
  const command = program
    .command('detach')
    .summary('take out of a QEMU what a killed backup left there')
    .description(
      'Takes filters, exports and nodes of a `vmapipe backup --qmp` that was killed out of QEMU. The guest goes on ' +
        'all the while; one that the backup had just paused is let go on. A backup does the same before it begins.',
    )
    .option('--qmp <socket>', "the guest's QMP socket")
    .option('--libvirt <domain>', 'the guest by its name in libvirt, through virsh')
    .action(run)
  examples(common(command), 'vmapipe detach --qmp /run/vm1.qmp')
}

async function run(place: Flags): Promise<void> {
  const { openMonitor } = await import('../../live/qemu/monitor.ts')
  const { detachAlone, isPaused } = await import('../../live/qemu/attachment/detach.ts')
  const { signal, dispose } = interruptible()
  const say = (line: string) => process.stderr.write(`${line}\n`)
  try {
    const qmp = await openMonitor(place, { signal, warn: (message) => say(noteLine('warning', message)) })
    try {
      const { removed, continued } = await detachAlone(qmp)
      say(removed.length === 0 ? 'nothing was left there' : `removed ${removed.join(', ')}`)
      if (continued) say('the guest stood still because of the backup that was killed: it goes on')
      else if (removed.length > 0 && (await isPaused(qmp)))
        say('the guest is paused; where nobody meant that, `cont` lets it go on')
    } finally {
      qmp.close()
    }
  } finally {
    dispose()
  }
}
