import type { Command } from 'commander'
import type { PipelineConfig } from '../../config/load.ts'
import { examples, pairs, type RunFlags, running, statsFlag } from '../flags.ts'
import { runJob } from '../run-job.ts'
import { runSummary } from '../summary.ts'
import { tell } from '../text.ts'

interface Flags extends RunFlags {
  set?: [string, string][]
  check?: boolean
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
    .option('--check', 'only say whether the config is good')
    .action(run)
  examples(
    statsFlag(running(command)),
    'vmapipe run pipelines/backup-file.yaml --set DISK=disk.raw --set ARCHIVE=vm.vma.zst',
    'vmapipe run --check my-pipeline.yaml',
  )
}

async function run(file: string, { set = [], check, ...flags }: Flags): Promise<void> {
  const { loadPipeline } = await import('../../config/load.ts')
  const config = await loadPipeline(file, { set: Object.fromEntries(set) })
  if (check) tell(`${file}: good: ${flow(config)}`)
  else await runPipeline(config, flags)
}

async function runPipeline({ name, pipeline, buffer, threads }: PipelineConfig, flags: RunFlags): Promise<void> {
  const limits = { buffer: flags.buffer ?? buffer, threads: flags.threads ?? threads }
  await runJob(
    name ?? 'run',
    { ...flags, ...limits },
    (options) =>
      pipeline.run({ ...options, warn: (message, stage) => options.warn?.(stage ? `${stage}: ${message}` : message) }),
    (_, whole) => runSummary(whole),
  )
}

function flow({ pipeline }: PipelineConfig): string {
  return pipeline.stages.map(({ definition }) => definition.name).join(' → ')
}
