import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { examples, type RunFlags, running } from '../flags.ts'
import { print } from '../text.ts'

interface Flags extends RunFlags {
  keep?: boolean
}

export function demoCommand(program: Command): void {
  const command = program
    .command('demo')
    .summary('back up and restore a made-up guest')
    .description(
      'Makes up a small guest in a temporary folder, backs it up, verifies the archive, restores it, compares, ' +
        'and says what it did. Takes some seconds and about 600 MiB of disk; leaves nothing behind.',
    )
    .option('--keep', 'leave the folder with everything in it')
    .action(run)
  examples(running(command), 'vmapipe demo', 'vmapipe demo --keep')
}

async function run({ keep, ...flags }: Flags): Promise<void> {
  const { runDemo } = await import('../demo/demo.ts')
  const dir = await mkdtemp(join(tmpdir(), 'vmapipe-demo-'))
  const say = flags.quiet ? () => {} : print
  try {
    await runDemo(dir, flags, say)
    if (keep) say('', `Everything is in ${dir}`)
  } finally {
    if (!keep) await rm(dir, { recursive: true, force: true })
  }
}
