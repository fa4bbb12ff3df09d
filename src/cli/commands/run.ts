import type { Command } from 'commander'
import type { PipelineConfig } from '../../config/load.ts'
import { printable, VmapipeError } from '../../core/errors.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { formatBytes } from '../../core/size.ts'
import { examples, pairs, type RunFlags, running, statsFlag } from '../flags.ts'
import { runOperation } from '../run-operation.ts'
import { runSummary } from '../summary.ts'
import { count, print, tell } from '../text.ts'

interface Flags extends RunFlags {
  set?: [string, string][]
  check?: boolean
  dryRun?: boolean
  verify?: boolean
}

export function runCommand(program: Command): void {
  const command = program
    .command('run')
    .summary('run a pipeline from a config')
    .description(
      'Runs a pipeline from a YAML or JSON file, or from a .ts or .js module that may bring stages of its own. ' +
        // biome-ignore lint/suspicious/noTemplateCurlyInString: parameters of a config look like this
        'In its values, ${NAME} stands for a parameter or an environment variable. Paths are relative to the ' +
        'current directory.\n\nA config can run commands (exec:): run only those you trust.',
    )
    .argument('<pipeline>', 'the config')
    .option('-s, --set <name=value>', 'set a parameter; any number of times', pairs('NAME=VALUE', { emptyValue: true }))
    .option('--check', 'only check the config')
    .option('--dry-run', 'check the config and draw the pipeline, but open nothing')
    .option(
      '--verify',
      'read the archive of a backup back when it is complete and check it; exit code 3 if it is damaged',
    )
    .action(run)
  examples(
    statsFlag(running(command)),
    'vmapipe run pipelines/backup-file.yaml --set DISK=disk.raw --set ARCHIVE=vm.vma.zst',
    'vmapipe run --dry-run my-pipeline.yaml',
  )
}

async function run(file: string, { set = [], check, dryRun, verify, ...flags }: Flags): Promise<void> {
  const { loadPipeline } = await import('../../config/load.ts')
  const config = await loadPipeline(file, { set: Object.fromEntries(set) })
  if (dryRun) await draw(file, config)
  else if (check) tell(`${file}: good: ${flow(config)}`)
  else await runPipeline({ ...config, verify: verify ?? config.verify }, flags)
}

async function draw(file: string, { pipeline, name, buffer, threads }: PipelineConfig): Promise<void> {
  const { drawPipeline } = await import('../draw-pipeline.ts')
  const limits = [
    ...(buffer === undefined ? [] : [`${formatBytes(buffer)} of memory`]),
    ...(threads === undefined ? [] : [count(threads, 'thread')]),
  ]
  const title = [name ?? file, ...limits].join(', ')
  print(`${printable(title)}: good`, '', ...drawPipeline(pipeline.stages))
}

async function runPipeline({ pipeline, verify, ...config }: PipelineConfig, flags: RunFlags): Promise<void> {
  const { name = 'run', buffer, threads } = config
  const limited = { ...flags, buffer: flags.buffer ?? buffer, threads: flags.threads ?? threads }
  const { isBackup } = await import('../../operations/run-backup.ts')
  if (isBackup(pipeline.stages)) {
    const { runBackupCommand } = await import('../run-backup.ts')
    return runBackupCommand(name, pipeline.stages, limited, verify ? { archives: [await archiveOf(pipeline)] } : null)
  }
  if (verify) throw new VmapipeError('USAGE', 'this pipeline makes no archive of drives that could be verified')
  await runOperation(
    name,
    limited,
    (options) =>
      pipeline.run({ ...options, warn: (message, stage) => options.warn?.(stage ? `${stage}: ${message}` : message) }),
    ({ conclusions }, whole) => [...runSummary(whole), ...conclusions],
  )
}

/** Stages that may be between the framer and the sink, if the archive is to be read back. */
const READABLE = ['compressor', 'rate-limit', 'hash', 'progress', 'census']

async function archiveOf({ stages }: Pipeline): Promise<string> {
  const { placeOf } = await import('../../operations/announce.ts')
  const place = placeOf(stages)
  if (place === null) throw new VmapipeError('USAGE', 'only an archive that ends in one sink can be verified')
  const framer = stages.findIndex(({ definition }) => definition.name === 'vma-framer')
  const strange = stages.slice(framer + 1, -1).find(({ definition }) => !READABLE.includes(definition.name))
  if (strange === undefined) return place
  throw new VmapipeError('USAGE', `what ${strange.definition.name} makes of the archive cannot be verified`)
}

function flow({ pipeline }: PipelineConfig): string {
  return pipeline.stages.map(({ definition }) => definition.name).join(' → ')
}
