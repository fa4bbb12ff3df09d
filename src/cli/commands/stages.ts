import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { didYouMean } from '../../core/suggest.ts'
import { collect, common, examples } from '../flags.ts'
import { columns, print } from '../text.ts'

export function stagesCommand(program: Command): void {
  const command = program
    .command('stages')
    .summary('show the stages that a pipeline can have')
    .description('Shows the stages that a pipeline can have, or one of them with its options.')
    .argument('[name]', 'a stage')
    .option('--use <module>', 'show the stages of this module or npm package too; any number of times', collect)
    .action(run)
  examples(common(command), 'vmapipe stages', 'vmapipe stages compressor', 'vmapipe stages --use ./my-stages.ts')
}

async function run(name: string | undefined, { use = [] }: { use?: string[] }): Promise<void> {
  const { registryWith } = await import('../../config/extensions.ts')
  const stages = await registryWith(use)
  if (name === undefined) {
    const rows = [...stages.values()].map(({ definition: d }) => [d.name, `${d.input} → ${d.output}`, d.summary])
    print(...columns(rows))
    return
  }
  const stage = stages.get(name)
  if (stage === undefined) {
    const hint = didYouMean(name, stages.keys()) ?? 'vmapipe stages shows all'
    throw new VmapipeError('USAGE', `there is no stage '${name}'`, { hint })
  }
  const { describeStage } = await import('../describe-stage.ts')
  print(...describeStage(stage))
}
