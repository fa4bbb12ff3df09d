import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { type CommonFlags, common, examples } from '../flags.ts'
import { interruptible } from '../signals.ts'

interface Flags extends CommonFlags {
  attach: string
}

export function abortCommand(program: Command): void {
  const command = program
    .command('abort')
    .summary('end the backup of a running guest whose disk is `vmapipe serve`')
    .description(
      'Ends the running backup: `vmapipe backup --attach` fails with one line, curl with an archive ' +
        'that is cut short. The guest goes on at full speed. Nothing is left under the final name.',
    )
    .requiredOption('--attach <control>', 'control socket of the guest')
    .action(run)
  examples(common(command), 'vmapipe abort --attach /run/vm1.ctl')
}

async function run({ attach }: Flags): Promise<void> {
  const { abort } = await import('../../operations/abort.ts')
  const { signal, dispose } = interruptible()
  try {
    if (!(await abort({ attach, signal }))) throw new VmapipeError('FAILED', 'no backup is running', { file: attach })
    process.stderr.write('the backup has ended\n')
  } finally {
    dispose()
  }
}
