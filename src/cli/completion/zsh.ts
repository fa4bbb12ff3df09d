/** Completion for zsh: a file _vmapipe in $fpath, or evaluated after compinit. */

import { allCommands, type CommandDescription, type OptionDescription, type ValueKind } from '../describe-commands.ts'
import { LISTS } from './lists.ts'

/** Names that archives have, as a pattern of zsh. */
const ARCHIVES = '*.vm[ai](|.(zst|lz4|gz|lzo|bz2|xz))(|.age)'

export function zshCompletion(program: CommandDescription): string {
  return `#compdef vmapipe
# zsh completion of vmapipe; made from the definitions of its help
# In .zshrc, after compinit: eval "$(vmapipe completion zsh)"

# Candidates are data from others: an array of lines is never expanded.
_vmapipe_list() {
  local -a found
  found=("\${(@f)$(sh -c "$1" 2>/dev/null)}")
  found=(\${found:#})
  compadd -a found
}

_vmapipe_archives() { _files -g '${ARCHIVES}' }
${Object.entries(LISTS)
  .map(([kind, list]) => `_vmapipe_${kind}() { _vmapipe_list '${list}'${extra(kind)} }`)
  .join('\n')}

${allCommands(program).map(commandFunction).join('\n')}
if [ "$funcstack[1]" = _vmapipe ]; then
  _vmapipe "$@"
else
  compdef _vmapipe vmapipe
fi
`
}

function extra(kind: string): string {
  if (kind === 'guest') return ''
  return kind === 'place' ? ' || _files -/' : ' || _files'
}

function functionName(path: readonly string[]): string {
  return ['_vmapipe', ...path.map((word) => word.replaceAll('-', '_'))].join('__').replace(/^_vmapipe$/, '_vmapipe')
}

function commandFunction({ path, options, commands, arguments: args }: CommandDescription): string {
  const name = functionName(path)
  const specs = options.flatMap(optionSpecs)
  if (commands.length === 0) {
    const last = args.map(({ name, kind, isVariadic }) =>
      quoted(`${isVariadic ? '*' : ''}:${colons(name)}:${action(kind, [])}`),
    )
    return `${name}() { _arguments -s ${[...specs, ...last].join(' ')} }\n`
  }
  const names = commands.map((one) => quoted(`${one.path.at(-1)}:${colons(one.summary)}`))
  return `${name}() {
  local curcontext=$curcontext state line
  local -a commands
  _arguments -C ${specs.join(' ')} '1: :->command' '*:: :->rest'
  case $state in
  command)
    commands=(${names.join(' ')})
    _describe command commands
    ;;
  rest)
    case $line[1] in
${commands.map((one) => `    ${one.path.at(-1)}) ${functionName(one.path)} ;;`).join('\n')}
    esac
    ;;
  esac
}
`
}

function optionSpecs({ short, long, value, isOptional, kind, choices, text }: OptionDescription): string[] {
  const about = `[${text.replace(/[[\]\\]/g, '\\$&').replace(/\s+/g, ' ')}]`
  return [short, long]
    .filter((flag) => flag !== null)
    .map((flag) => {
      const message =
        value === null
          ? ''
          : `${isOptional ? '::' : ':'}${colons(value.replace(/[<>[\]]/g, ''))}:${action(kind, choices)}`
      const equals = value !== null && flag.startsWith('--') ? (isOptional ? '=-' : '=') : ''
      // A star: it may be given several times.
      return quoted(`*${flag}${equals}${colons(about)}${message}`)
    })
}

function action(kind: ValueKind, choices: readonly string[]): string {
  if (choices.length > 0) return `(${choices.join(' ')})`
  switch (kind) {
    case 'none':
      return ' '
    case 'file':
    case 'socket':
      return '_files'
    case 'folder':
      return '_files -/'
    case 'archive':
      return '_vmapipe_archives'
    case 'shell':
      return '(bash zsh fish)'
    default:
      return `_vmapipe_${kind}`
  }
}

function colons(text: string): string {
  return text.replaceAll(':', '\\:')
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
