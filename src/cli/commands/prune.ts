import { existsSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import type { PruneOptions, PruneResult } from '../../catalog/prune.ts'
import type { Keep } from '../../catalog/retention.ts'
import { printable, VmapipeError } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import { type CommonFlags, common, examples } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { interruptible } from '../signals.ts'
import { count, noteLine, print } from '../text.ts'

interface Flags extends CommonFlags, KeyFlags {
  keepLast?: number
  keepHourly?: number
  keepDaily?: number
  keepWeekly?: number
  keepMonthly?: number
  keepYearly?: number
  keepWithin?: string
  guest?: string
  dryRun?: boolean
  plan?: string
  json?: boolean
}

/** Places with their rules. */
interface Asked {
  places: { place: string; keep: Keep }[]
  /** Paths of the secret keys that the job names. */
  identity?: string[] | undefined
}

export function pruneCommand(program: Command): void {
  const command = program
    .command('prune')
    .summary('remove archives that no rule keeps')
    .description(
      'Removes archives of a place that no rule keeps, of each guest alone, and prints what stays and why. Rules work one after the other, ' +
        'from last to yearly: each keeps the newest archive of a period, for periods that have none yet. Days are those of your time zone, ' +
        'weeks begin on Monday.\n\n' +
        'What never goes: a parent of an archive that stays, what is protected or being read, the newest good archive of a guest, and what is not ' +
        'known well enough, such as archives of other programs or without a key. If an archive is of the future, nothing goes: the clock may be wrong.\n\n' +
        'Of a JOB, a file such as nightly.yaml, all places with `keep:` are pruned by their rules.',
    )
    .argument('<job|place>', 'a folder, ssh://user@host/folder/, s3://bucket/prefix/, or a job: its file or name')
    .option('--keep-last <n>', 'keep the newest n archives of each guest', whole)
    .option('--keep-hourly <n>', 'keep one archive of an hour, for n hours that have one', whole)
    .option('--keep-daily <n>', 'the same for days', whole)
    .option('--keep-weekly <n>', 'the same for weeks', whole)
    .option('--keep-monthly <n>', 'the same for months', whole)
    .option('--keep-yearly <n>', 'the same for years', whole)
    .option(
      '--keep-within <span>',
      'keep all archives that are at most this much older than the newest, such as 14d, 6w, 3m or 1y',
    )
    .option('--guest <name>', 'only archives of this guest')
    .option('-n, --dry-run', 'remove nothing, only print what would go')
    .option('--plan <word>', 'remove nothing if it is not this plan any more, as the page has shown it')
    .option('--json', 'as JSON; `vmapipe schema prune` prints its schema')
    .action(run)
  examples(
    keyFlags(common(command)),
    'vmapipe prune /srv/backup --keep-last 3 --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run',
    'vmapipe prune s3://offsite/vms/ --keep-within 30d --guest web01',
    'vmapipe prune /etc/vmapipe/jobs/nightly.yaml --dry-run',
  )
}

async function run(what: string, { json, guest, dryRun = false, plan, ...flags }: Flags): Promise<void> {
  const { places, identity } = await askedBy(what, rulesOf(flags))
  const keys = await keyringOf({ ...flags, identity: flags.identity ?? identity })
  const { prune } = await import('../../catalog/prune.ts')
  const { signal, dispose } = interruptible()
  const warn = (message: string) => process.stderr.write(`${noteLine('warning', message)}\n`)
  const failures: VmapipeError[] = []
  try {
    const only = plan === undefined ? undefined : await goingBy(plan, places, { guest, keys, signal, warn })
    for (const { place, keep } of places) {
      const result = await prune(place, keep, { guest, only, dryRun, keys, signal, warn })
      await show(result, { json, dryRun })
      failures.push(...result.failures.map(({ error }) => error))
    }
  } finally {
    dispose()
  }
  if (failures.length === 0) return
  for (const error of failures) warn(error.line)
  throw new VmapipeError('FAILED', `${count(failures.length, 'archive')} could not be removed`, {
    hint: 'the others are gone',
  })
}

/** The archives that go by this plan. Throws USAGE if it is another one by now. */
async function goingBy(plan: string, places: Asked['places'], options: PruneOptions): Promise<Set<string>> {
  const { prune } = await import('../../catalog/prune.ts')
  const { planToken } = await import('../../catalog/plan-token.ts')
  const plans: (PruneResult & { keep: Keep })[] = []
  for (const { place, keep } of places)
    plans.push({ ...(await prune(place, keep, { ...options, dryRun: true })), place, keep })
  if (planToken(plans) === plan) return new Set(plans.flatMap(({ removed }) => removed.map(({ place }) => place)))
  throw new VmapipeError('USAGE', 'the archives have changed since the plan was shown: nothing was removed', {
    hint: 'look at the new plan',
  })
}

/** The rules of the flags; null if none was given. */
function rulesOf(flags: Flags): Keep | null {
  const keep: Keep = {
    last: flags.keepLast,
    hourly: flags.keepHourly,
    daily: flags.keepDaily,
    weekly: flags.keepWeekly,
    monthly: flags.keepMonthly,
    yearly: flags.keepYearly,
    within: flags.keepWithin,
  }
  return Object.values(keep).some((value) => value !== undefined) ? keep : null
}

/** A file that ends like a config is that of a job. Without rules, a word that is no folder here is the name of a job. */
async function askedBy(what: string, rules: Keep | null): Promise<Asked> {
  const isName = rules === null && /^[^/:]+$/.test(what) && !existsSync(what)
  if (!isName && !/\.(ya?ml|json)$/.test(what)) {
    if (rules !== null) return { places: [{ place: what, keep: rules }] }
    throw new VmapipeError('USAGE', 'no rule says what is kept', {
      hint: 'such as --keep-last 3 --keep-daily 7, or name a job',
    })
  }
  if (rules !== null)
    throw new VmapipeError('USAGE', 'the rules of a job are in its file', {
      hint: 'leave out --keep-…, or name the place',
    })
  const { loadJob, pathIn } = await import('../../jobs/file/load.ts')
  const { findJob } = await import('../../jobs/file/find-job.ts')
  const job = await loadJob(await findJob(what))
  const places = job.to.flatMap(({ place, keep }) => (keep === undefined ? [] : [{ place, keep }]))
  if (places.length > 0) return { places, identity: job.identity?.map((path) => pathIn(job, path)) }
  throw new VmapipeError('USAGE', `no place of the job '${printable(what)}' has \`keep:\``, {
    hint: 'without it all archives stay',
  })
}

async function show(
  result: PruneResult,
  { json, dryRun }: { json: boolean | undefined; dryRun: boolean },
): Promise<void> {
  const { place, verdicts, removed, bytes, failures } = result
  const { archiveJson, verdictLines } = await import('../archives.ts')
  if (json) {
    const { Families } = await import('../../catalog/families.ts')
    const families = new Families(verdicts.map(({ entry }) => entry))
    const archives = verdicts.map(({ entry, stays, reasons }) => ({ ...archiveJson(entry, families), stays, reasons }))
    const failed = failures.map(({ entry, error }) => ({ place: entry.place, error: error.text }))
    const told = { removed: removed.map((entry) => entry.place), bytes, failures: failed }
    return print(JSON.stringify({ version: 1, place, dryRun, archives, ...told }, null, 2))
  }
  if (verdicts.length === 0) return print(`${printable(place)}: there are no archives`)
  const what = dryRun ? 'would be removed' : 'removed'
  print(
    ...verdictLines(verdicts),
    `${printable(place)}: ${count(removed.length, 'archive')} ${what}, ${formatBytes(bytes)}`,
  )
}

function whole(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('write a whole number')
  return Number(text)
}
