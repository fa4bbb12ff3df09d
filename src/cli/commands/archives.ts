import type { Command } from 'commander'
import { formatBytes } from '../../core/size.ts'
import { type CommonFlags, common, examples } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { interruptible } from '../signals.ts'
import { count, noteLine, print } from '../text.ts'

interface Flags extends CommonFlags, KeyFlags {
  json?: boolean
  guest?: string
  fresh?: boolean
}

/** Milliseconds between two lines that say how many archives were read. */
const TELL_MS = 5000

export function archivesCommand(program: Command): void {
  const command = program
    .command('archives')
    .summary('list the archives of a place')
    .description(
      'Lists the archives in a folder and in the folders in it, at a prefix of a bucket, or on another host: of which guest and of when ' +
        'they are, their chains, sizes, checks, protection and notes. Times are those of your time zone.\n\n' +
        'Headers are read once. After that an index in your folder for caches has them, which may be lost: it is made anew.',
    )
    .argument('<place>', 'a folder, ssh://user@host/folder/ or s3://bucket/prefix/')
    .option('--guest <name>', 'only archives of this guest')
    .option('--fresh', 'read all headers again, without the index')
    .option('--json', 'as JSON; `vmapipe schema archives` prints its schema')
    .action(run)
  examples(
    keyFlags(common(command)),
    'vmapipe archives /srv/backup',
    'vmapipe archives s3://offsite/vms/ --guest web01',
    "vmapipe archives /srv/backup --json | jq '.archives[] | select(.verified == null) | .place'",
  )
}

async function run(place: string, { json, guest, fresh, ...flags }: Flags): Promise<void> {
  const keys = await keyringOf(flags)
  const [{ readCatalog }, { archiveJson, archiveLines }, { Families }] = await Promise.all([
    import('../../catalog/catalog.ts'),
    import('../archives.ts'),
    import('../../catalog/families.ts'),
  ])
  const { signal, dispose } = interruptible()
  const warn = (message: string) => process.stderr.write(`${noteLine('warning', message)}\n`)
  let told = Date.now()
  const onProgress = (read: number) => {
    if (Date.now() - told < TELL_MS) return
    told = Date.now()
    process.stderr.write(`${noteLine('info', `${count(read, 'header')} read, which the index has from now on`)}\n`)
  }
  const all = await readCatalog(place, { keys, signal, warn, fresh, onProgress }).finally(dispose)
  const shown = all.filter((entry) => guest === undefined || entry.guest === guest)
  if (json) {
    const families = new Families(all)
    const archives = shown.map((entry) => archiveJson(entry, families))
    return print(JSON.stringify({ version: 1, place, archives }, null, 2))
  }
  if (shown.length === 0) return print('there are no archives')
  const size = shown.reduce((sum, entry) => sum + entry.size, 0)
  print(...archiveLines(shown, all), `${count(shown.length, 'archive')}, ${formatBytes(size)}`)
}
