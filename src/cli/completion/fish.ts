/** Completion for fish: a file vmapipe.fish in ~/.config/fish/completions. */

import { allCommands, type CommandDescription, type OptionDescription, type ValueKind } from '../describe-commands.ts'
import { LISTS } from './lists.ts'

export function fishCompletion(program: CommandDescription): string {
  return `# fish completion of vmapipe; made from the definitions of its help
# vmapipe completion fish > ~/.config/fish/completions/vmapipe.fish

# The words that are no options, so far: \`vmapipe job run\` is "job run".
function __vmapipe_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l path
    for word in $words
        string match -q -- '-*' $word; and continue
        contains -- "$path $word" ${allCommands(program)
          .filter(({ path }) => path.length > 0)
          .map(({ path }) => quoted(`${path.slice(0, -1).join(' ')} ${path.at(-1)}`))
          .join(' ')}; and set path (string trim -- "$path $word")
    end
    test "$path" = "$argv"
end

function __vmapipe_archives
    __fish_complete_directories
    for file in (commandline -ct)*.{vma,vmi}*
        string match -qr '\\.(idx|checks|notes|protected|hashes|png|log)$' -- $file; or printf '%s\\n' $file
    end
end

complete -c vmapipe -f
${allCommands(program).flatMap(commandLines).join('\n')}
`
}

function commandLines({ path, options, commands, arguments: args }: CommandDescription): string[] {
  const at = `complete -c vmapipe -n ${quoted(`__vmapipe_at ${path.join(' ')}`.trimEnd())}`
  const names = commands.map((one) => `${at} -a ${one.path.at(-1)} -d ${quoted(one.summary)}`)
  const kinds = [...new Set(args.map(({ kind }) => kind))].filter((kind) => kind !== 'none')
  return [
    ...names,
    ...options.map((option) => `${at}${optionWords(option)}`),
    ...kinds.map((kind) => `${at}${valueWords(kind)}`),
  ]
}

function optionWords({ short, long, value, isOptional, kind, choices, text }: OptionDescription): string {
  const flags = [short && ` -s ${short.slice(1)}`, long && ` -l ${long.slice(2)}`].filter(Boolean).join('')
  const about = ` -d ${quoted(text.split(/;|\. /)[0])}`
  if (value === null) return `${flags}${about}`
  const values = choices.length > 0 ? ` -a ${quoted(choices.join(' '))}` : valueWords(kind)
  // -x forbids the files that -F asks for.
  const needs = values.endsWith(' -F') ? ' -r' : ' -x'
  return `${flags}${isOptional ? '' : needs}${values}${about}`
}

/** Lines that a command prints are candidates as they are: fish never evaluates them. */
function valueWords(kind: ValueKind): string {
  switch (kind) {
    case 'none':
      return ''
    case 'file':
    case 'socket':
      return ' -F'
    case 'folder':
      return " -a '(__fish_complete_directories)'"
    case 'archive':
      return " -a '(__vmapipe_archives)'"
    case 'shell':
      return " -a 'bash zsh fish'"
    default:
      return ` -a ${quoted(`(sh -c ${inner(LISTS[kind])} 2>/dev/null)`)}${kind === 'guest' ? '' : ' -F'}`
  }
}

/** A word for fish inside one of its substitutions. */
function inner(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
