/** The commands as data, for man pages and completion: the definitions that also make the help. */

import type { Command, Option } from 'commander'

/** What a value names, as far as it can be completed. */
export type ValueKind =
  | 'file'
  | 'folder'
  | 'archive'
  | 'place'
  | 'guest'
  | 'control'
  | 'socket'
  | 'job'
  | 'shell'
  | 'none'

export interface OptionDescription {
  /** With its dashes, such as `-o`. */
  short: string | null
  long: string | null
  /** The value in the help, such as `<size>`; null if it takes none. */
  value: string | null
  /** It may be given without its value. */
  isOptional: boolean
  kind: ValueKind
  choices: readonly string[]
  text: string
}

export interface CommandDescription {
  /** The words behind `vmapipe`; none for the program itself. */
  path: readonly string[]
  summary: string
  /** Paragraphs. */
  description: string
  /** The usage without the program, such as `[options] <archive>`. */
  usage: string
  options: OptionDescription[]
  arguments: { name: string; text: string; kind: ValueKind; isVariadic: boolean; isRequired: boolean }[]
  /** What comes behind the options in the help: examples and exit codes. */
  after: string
  commands: CommandDescription[]
}

export function describeCommand(command: Command, path: readonly string[] = []): CommandDescription {
  const help = command.createHelp()
  return {
    path,
    summary: command.summary() || command.description().split('\n')[0],
    description: command.description(),
    usage: command.usage(),
    options: help.visibleOptions(command).map(describeOption),
    arguments: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      text: argument.description,
      kind: ARGUMENTS[argument.name()] ?? 'none',
      isVariadic: argument.variadic,
      isRequired: argument.required,
    })),
    after: afterHelp(command),
    commands: command.commands.map((one) => describeCommand(one, [...path, one.name()])),
  }
}

/** All of them, the first one first. */
export function allCommands(root: CommandDescription): CommandDescription[] {
  return [root, ...root.commands.flatMap(allCommands)]
}

function describeOption({
  short,
  long,
  flags,
  required,
  optional,
  argChoices,
  description,
}: Option): OptionDescription {
  const takesValue = required || optional
  return {
    short: short ?? null,
    long: long ?? null,
    value: takesValue ? (/[<[].*$/.exec(flags)?.[0] ?? '<value>') : null,
    // `<[name=]file>` has both kinds of brackets, and must be given.
    isOptional: optional && !required,
    kind: takesValue ? kindOf(long ?? '', flags) : 'none',
    choices: argChoices ?? [],
    text: description,
  }
}

const ARGUMENTS: Record<string, ValueKind> = {
  archive: 'archive',
  archives: 'archive',
  from: 'archive',
  job: 'job',
  place: 'place',
  'job|place': 'job',
  config: 'file',
  pipeline: 'file',
  into: 'folder',
  folder: 'folder',
  dir: 'folder',
  to: 'file',
  file: 'file',
  shell: 'shell',
}

const OPTIONS: Record<string, ValueKind> = {
  '--libvirt': 'guest',
  '--attach': 'control',
  '--control': 'control',
  '--qmp': 'socket',
  '--agent': 'socket',
  '--socket': 'socket',
  '--since': 'archive',
  '--parents': 'place',
  '--output': 'file',
  '--also': 'file',
}

function kindOf(long: string, flags: string): ValueKind {
  const known = OPTIONS[long]
  if (known !== undefined) return known
  if (/[<[](dir|folder)[>\]]/.test(flags)) return 'folder'
  return /[<[\]](file|path|source|target|place|archive)[>\]]/.test(flags) || /=(source|path|file)>/.test(flags)
    ? 'file'
    : 'none'
}

/** What addHelpText has added: the help as it is shown, without what commander itself makes. */
function afterHelp(command: Command): string {
  let text = ''
  const before = command.configureOutput()
  command.configureOutput({
    ...before,
    writeOut: (part) => {
      text += part
    },
  })
  command.outputHelp()
  command.configureOutput(before)
  const at = text.indexOf('\nExamples:\n')
  return at === -1 ? '' : text.slice(at).trim()
}
