/** Pipelines of a user's own against what they are compared with: the command, one file instead of two, no stage of the user's. */

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { mebibytes, ratioGoals, timesTable } from './comparison.ts'
import { MIXED_IMAGE, makeMixedImage, QUICK_IMAGE } from './images.ts'
import { alternate, type Command, type Measured } from './measure.ts'
import { type Section, type Settings, vmapipe } from './topic.ts'

const SUFFIXES = ['vma', 'vma.zst']

export async function run({ folder, quick, runs }: Settings): Promise<Section> {
  const image = join(folder, 'disk.raw')
  makeMixedImage(image, quick ? QUICK_IMAGE : MIXED_IMAGE)
  // Only what is compared runs in turn: behind a run that compresses for long the next one is slower, whichever it is.
  const groups = [
    ...SUFFIXES.map((suffix) => pair(image, suffix, folder)),
    branches(image, folder),
    identities(image, folder),
  ]
  const measured: Measured[] = []
  for (const group of groups) measured.push(...(await alternate(group, runs, folder)))
  return {
    title: 'Pipelines of your own',
    intro: [
      `The image of the backup (${mebibytes(image)}), backed up by the command and by \`vmapipe run\` of the config that the ` +
        `command prints; to two files by \`tee\`, and to one; with ${IDENTITIES} stages that change nothing, and without them. All in memory (tmpfs).`,
    ],
    tables: [timesTable(measured)],
    goals: ratioGoals(measured, [
      ...SUFFIXES.map((suffix) => ({
        job: `backup to .${suffix} by a config`,
        goal: 'at most 1.02 times the time of the command',
        ours: byConfig(suffix),
        theirs: byCommand(suffix),
        atMost: 1.02,
        why: WHY,
      })),
      { job: 'tee to two files', goal: 'at most 1.6 times one file', ours: TWO_FILES, theirs: ONE_FILE, atMost: 1.6 },
      {
        job: `${IDENTITIES} stages that change nothing`,
        goal: 'at most 3 % of the backup',
        ours: WITH_STAGES,
        theirs: WITHOUT_STAGES,
        atMost: 1.03,
      },
    ]),
  }
}

const IDENTITIES = 5
const WHY =
  'both run the same stages. What differs is the start, some hundredths of a second, and what one run differs from the next by itself.'
const [ONE_FILE, TWO_FILES] = ['vmapipe run to one .vma', 'vmapipe run, tee to two .vma']
const [WITHOUT_STAGES, WITH_STAGES] = ['vmapipe run of a module', `vmapipe run of a module, ${IDENTITIES} stages more`]

const byConfig = (suffix: string) => `vmapipe run to .${suffix}`
const byCommand = (suffix: string) => `vmapipe backup to .${suffix}`

/** All have one output, which is removed before each run: several would not leave enough memory. */
const outputOf = (folder: string, suffix = 'vma') => join(folder, `output.${suffix}`)

function pair(image: string, suffix: string, folder: string): Command[] {
  const output = outputOf(folder, suffix)
  const backup = vmapipe('backup', '-d', `drive-scsi0=${image}`, '-o', output)
  const config = join(folder, `${suffix}.yaml`)
  const [program, ...args] = backup
  writeFileSync(config, execFileSync(program, [...args, '--print-pipeline']))
  return [
    { name: byCommand(suffix), argv: backup, makes: [output] },
    { name: byConfig(suffix), argv: vmapipe('run', config), makes: [output] },
  ]
}

function branches(image: string, folder: string): Command[] {
  const [output, second] = [outputOf(folder), join(folder, 'second.vma')]
  const run = (name: string, end: object): Command => {
    const config = join(folder, `${name.replaceAll(/\W+/g, '-')}.json`)
    const stages = [{ 'cluster-source': { drives: { 'drive-scsi0': image } } }, 'zero-elider', 'vma-framer', end]
    // Every JSON text is a YAML text.
    writeFileSync(`${config}.yaml`, JSON.stringify({ name: 'backup', stages }))
    return { name, argv: vmapipe('run', `${config}.yaml`), makes: [output, second] }
  }
  const sink = (to: string) => ({ sink: { to } })
  const both = [output, second].map((to, index) => ({ name: String(index), stages: [sink(to)] }))
  return [run(ONE_FILE, sink(output)), run(TWO_FILES, { tee: { branches: both } })]
}

function identities(image: string, folder: string): Command[] {
  return [WITHOUT_STAGES, WITH_STAGES].map((name, more) => {
    const config = join(folder, `module${more}.ts`)
    const output = outputOf(folder)
    writeFileSync(config, moduleWith(more * IDENTITIES, image, output))
    return { name, argv: vmapipe('run', config), makes: [output] }
  })
}

function moduleWith(stages: number, image: string, to: string): string {
  const identity = `defineStage({
    name: 'identity', summary: '', input: 'bytes', output: 'bytes', options: z.strictObject({}),
    create: () => ({ transform: (chunk, push) => void push(chunk) }),
  })()`
  const source = JSON.stringify({ 'cluster-source': { drives: { 'drive-scsi0': image } } })
  const list = [
    source,
    "'zero-elider'",
    "'vma-framer'",
    ...Array(stages).fill(identity),
    JSON.stringify({ sink: { to } }),
  ]
  return `import { defineStage, z } from 'vmapipe'\nexport default { name: 'backup', stages: [${list.join(', ')}] }\n`
}
