import type { Command } from 'commander'
import { common, examples } from '../flags.ts'
import { print } from '../text.ts'

export function newStageCommand(program: Command): void {
  const command = program
    .command('new-stage')
    .summary('begin a stage of your own: writes it, and its test')
    .description(
      'Writes a stage and a test of it, both of which run as they stand. The test needs vmapipe as a package: npm install vmapipe.',
    )
    .argument('<name>', 'the name of the stage in a config, such as my-stage')
    .option('--in <folder>', 'where the files go; the current folder if left out', '.')
    .action(run)
  examples(common(command), 'vmapipe new-stage my-stage', 'vmapipe new-stage my-stage --in stages')
}

async function run(name: string, { in: folder }: { in: string }): Promise<void> {
  const { writeNewStage } = await import('../write-new-stage.ts')
  const files = await writeNewStage(name, folder)
  print(...files.map((file) => `wrote ${file}`), `run its test: node --test ${files[1]}`)
}
