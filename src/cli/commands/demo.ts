import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { examples, type RunFlags, running } from '../flags.ts'
import { print } from '../text.ts'

interface Flags extends RunFlags {
  keep?: string
}

export function demoCommand(program: Command): void {
  const command = program
    .command('demo')
    .summary('back up a made-up guest while it writes, and restore it')
    .description(
      'Makes up a small guest and serves its disk; the guest writes all the time. Backs it up meanwhile into a target that is ' +
        "slow on purpose, shows what the guest felt of it, verifies the archive, restores it, and compares it with the guest's " +
        'drives at the point in time. Takes about ten seconds and 700 MiB of disk; leaves nothing behind.',
    )
    .option('--keep <dir>', 'do it in this folder, which is new or empty, and leave everything there')
    .action(run)
  examples(running(command), 'vmapipe demo', 'vmapipe demo --keep ./demo')
}

async function run({ keep, ...flags }: Flags): Promise<void> {
  const { runDemo } = await import('../demo/demo.ts')
  const say = flags.quiet ? () => {} : print
  if (keep !== undefined) {
    await makeEmpty(keep)
    await runDemo(keep, flags, say)
    say('', `Everything is in ${keep}; the commands were run there.`)
    return
  }
  const dir = await mkdtemp(join(tmpdir(), 'vmapipe-demo-'))
  try {
    await runDemo(dir, flags, say)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function makeEmpty(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true })
  if ((await readdir(dir)).length === 0) return
  throw new VmapipeError('USAGE', 'this folder is not empty', { file: dir, hint: 'name a new one' })
}
