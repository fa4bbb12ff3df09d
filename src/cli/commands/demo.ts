import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { mayBeLeft } from '../../core/left-behind.ts'
import { examples, type RunFlags, running } from '../flags.ts'
import { interruptible } from '../signals.ts'
import { print } from '../text.ts'

interface Flags extends RunFlags {
  keep?: string
  web?: boolean
  listen: string
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
    .option('--web', 'three guests instead, and the page on which their backups are seen, until you end it')
    .option('--listen <host:port>', 'with --web: where the page is served', '127.0.0.1:8461')
    .action(run)
  examples(running(command), 'vmapipe demo', 'vmapipe demo --keep ./demo', 'vmapipe demo --web')
}

/** Milliseconds that the end of the page may take: its guests and backups end first. */
const END_MS = 5000

async function run({ keep, web, listen, ...flags }: Flags): Promise<void> {
  if (web) return runOnPage(keep, listen)
  const { runDemo } = await import('../demo/demo.ts')
  const say = flags.quiet ? () => {} : print
  if (keep === undefined) return inTemporaryFolder((dir) => runDemo(dir, flags, say))
  await makeEmpty(keep)
  await runDemo(keep, flags, say)
  say('', `Everything is in ${keep}; the commands were run there.`)
}

async function runOnPage(keep: string | undefined, listen: string): Promise<void> {
  if (keep !== undefined) throw new VmapipeError('USAGE', 'the demo of the page keeps nothing (--keep)')
  const { runWebDemo } = await import('../demo/web/web-demo.ts')
  const { signal, dispose } = interruptible({ grace: END_MS })
  try {
    await inTemporaryFolder((dir) => runWebDemo({ dir, listen, signal, say: print }))
  } finally {
    dispose()
  }
}

async function inTemporaryFolder(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'vmapipe-demo-'))
  const remove = () => rm(dir, { recursive: true, force: true, maxRetries: 3 })
  const isGone = mayBeLeft({ what: `'${dir}'`, remove, patience: 1000 })
  try {
    await work(dir)
  } finally {
    await remove()
    isGone()
  }
}

async function makeEmpty(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true })
  if ((await readdir(dir)).length === 0) return
  throw new VmapipeError('USAGE', 'this folder is not empty', { file: dir, hint: 'name a new one' })
}
