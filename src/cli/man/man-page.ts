/** A man page (man(7)) of a command, from the definitions of its help. */

import type { CommandDescription, OptionDescription } from '../describe-commands.ts'

export interface Edition {
  version: string
  /** As "2026-11-29". */
  date: string
}

/** Name of the page, such as "vmapipe-job-run". */
export function pageName({ path }: CommandDescription): string {
  return ['vmapipe', ...path].join('-')
}

export function manPage(command: CommandDescription, root: CommandDescription, { version, date }: Edition): string {
  const name = pageName(command)
  const lines = [
    `.TH ${name.toUpperCase()} 1 "${date}" "vmapipe ${version}" "vmapipe manual"`,
    '.SH NAME',
    `${text(name)} \\- ${text(command.summary)}`,
    '.SH SYNOPSIS',
    `.B ${text(['vmapipe', ...command.path].join(' '))}`,
    text(command.usage),
    '.SH DESCRIPTION',
    ...paragraphs(command.description),
    ...argumentLines(command),
    ...commandLines(command),
    ...optionLines(command.options),
    ...afterLines(command.after),
    ...seeAlso(command, root),
  ]
  return `${lines.filter((line) => line !== '').join('\n')}\n`
}

function paragraphs(description: string): string[] {
  return description
    .split(/\n\n+/)
    .flatMap((paragraph, index) => [...(index === 0 ? [] : ['.PP']), ...lines(paragraph)])
}

function argumentLines({ arguments: all }: CommandDescription): string[] {
  const told = all.filter(({ text }) => text !== '')
  if (told.length === 0) return []
  return ['.SH ARGUMENTS', ...told.flatMap(({ name, text: about }) => ['.TP', `.I ${text(name)}`, ...lines(about)])]
}

function commandLines({ commands, path }: CommandDescription): string[] {
  if (commands.length === 0) return []
  return [
    '.SH COMMANDS',
    ...commands.flatMap((one) => [
      '.TP',
      `.BR ${[...['vmapipe', ...path], one.path.at(-1)].map((word) => text(word!)).join('\\-')} (1)`,
      ...lines(one.summary),
    ]),
  ]
}

function optionLines(options: readonly OptionDescription[]): string[] {
  if (options.length === 0) return []
  return [
    '.SH OPTIONS',
    ...options.flatMap(({ short, long, value, choices, text: about }) => {
      const flags = [short, long].filter((flag) => flag !== null).map((flag) => `\\fB${text(flag)}\\fR`)
      const shown = value === null ? '' : ` \\fI${text(value.replace(/^<|>$/g, ''))}\\fR`
      const among = choices.length === 0 ? '' : ` (${choices.join(', ')})`
      return ['.TP', `${flags.join(', ')}${shown}`, ...lines(`${about}${among}`)]
    }),
  ]
}

/** Examples, and the exit codes below them. */
function afterLines(after: string): string[] {
  const [, examples = '', rest = ''] = /^Examples:\n((?: {2}.*\n?)*)\n*([\s\S]*)$/.exec(after) ?? []
  const codes = rest.replace(/^Exit codes: /, '')
  return [
    ...(examples === '' ? [] : ['.SH EXAMPLES', '.nf', ...lines(examples.trimEnd().replace(/^ {2}/gm, '')), '.fi']),
    ...(codes === '' ? [] : ['.SH EXIT STATUS', ...lines(codes)]),
  ]
}

function seeAlso(command: CommandDescription, root: CommandDescription): string[] {
  const others =
    command === root ? [] : [root, ...(command.path.length > 1 ? [{ ...root, path: command.path.slice(0, -1) }] : [])]
  if (others.length === 0) return []
  return ['.SH SEE ALSO', others.map((one) => `.BR ${text(pageName(one))} (1)`).join(',\n')]
}

function lines(block: string): string[] {
  return block.split('\n').map(text)
}

/** Text in which nothing is a request or an escape. A dash that may be typed is one of ASCII. */
function text(line: string): string {
  const escaped = line
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replace(/[\u0080-\uffff]/g, (letter) => `\\[u${letter.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}]`)
  return escaped.startsWith('.') ? `\\&${escaped}` : escaped
}
