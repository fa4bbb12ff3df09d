import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { type CommonFlags, common, examples } from '../flags.ts'
import { interruptible } from '../signals.ts'

interface Flags extends CommonFlags {
  qmp: string
}

export function detachCommand(program: Command): void {
  const command = program
    .command('detach')
    .summary('take out of a QEMU what a killed backup left there')
    .description(
      'Takes filters, exports and nodes of a `vmapipe backup --qmp` that was killed out of QEMU. The guest goes on ' +
        'all the while. A backup does the same before it begins.',
    )
    .requiredOption('--qmp <socket>', "the guest's QMP socket")
    .action(run)
  examples(common(command), 'vmapipe detach --qmp /run/vm1.qmp')
}

async function run({ qmp: path }: Flags): Promise<void> {
  const { QmpClient } = await import('../../protocol/qmp/client.ts')
  const { detach } = await import('../../live/qemu/detach.ts')
  const { signal, dispose } = interruptible()
  try {
    const qmp = await QmpClient.connect(path, { signal })
    const removed = await detach(qmp).finally(() => qmp.close())
    const line = removed.length === 0 ? 'nothing was left there' : `removed ${removed.join(', ')}`
    process.stderr.write(`${line}\n`)
  } catch (error) {
    if (error instanceof VmapipeError) error.where.file ??= path
    throw error
  } finally {
    dispose()
  }
}
