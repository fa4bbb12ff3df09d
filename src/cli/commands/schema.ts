import { Argument, type Command } from 'commander'
import { collect, common, examples } from '../flags.ts'
import { print } from '../text.ts'

const KINDS = ['pipeline', 'progress', 'job', 'fleet', 'archives', 'prune'] as const

export function schemaCommand(program: Command): void {
  const command = program
    .command('schema')
    .summary('print a JSON Schema')
    .description(
      'Prints the JSON Schema of a pipeline config, a job file or the config of `fleet serve`, for editors and checkers, of a line of --progress json, or of what ' +
        '`archives --json` and `prune --json` print.\n\n' +
        'A config names the file in its first line: # yaml-language-server: $schema=./pipeline.schema.json',
    )
    .addArgument(new Argument('[what]', 'of what').choices(KINDS).default('pipeline'))
    .option('--use <module>', 'with the stages of this module or npm package; any number of times', collect)
    .action(run)
  examples(
    common(command),
    'vmapipe schema > pipeline.schema.json',
    'vmapipe schema progress > progress.schema.json',
    'vmapipe schema job > job.schema.json',
  )
}

async function run(what: (typeof KINDS)[number], { use = [] }: { use?: string[] }): Promise<void> {
  if (what === 'progress') {
    const { recordSchema } = await import('../progress/records.ts')
    print(JSON.stringify(recordSchema(), null, 2))
    return
  }
  if (what === 'job') {
    const { jobSchemaText } = await import('../../jobs/file/json-schema.ts')
    print(jobSchemaText().trimEnd())
    return
  }
  if (what === 'fleet') {
    const { fleetSchemaText } = await import('../../fleet/config/json-schema.ts')
    print(fleetSchemaText().trimEnd())
    return
  }
  if (what === 'archives' || what === 'prune') {
    const { outputSchema } = await import('../archives-schema.ts')
    print(JSON.stringify(outputSchema(what), null, 2))
    return
  }
  const { schemaText } = await import('../../config/schema.ts')
  const { registryWith } = await import('../../config/extensions.ts')
  print(schemaText(await registryWith(use)).trimEnd())
}
