/** Completion for bash 4 and newer. It needs nothing else; with bash-completion it is loaded when it is first needed. */

import { allCommands, type CommandDescription, type OptionDescription, type ValueKind } from '../describe-commands.ts'
import { LISTS } from './lists.ts'

export function bashCompletion(program: CommandDescription): string {
  const commands = allCommands(program)
  return `# bash completion of vmapipe; made from the definitions of its help
# In .bashrc: eval "$(vmapipe completion bash)"

# Candidates are data from others: they are compared and quoted, and never expanded, as \`compgen -W\` would.
_vmapipe_offer() {
  local line
  while IFS= read -r line; do
    [[ $line == "$cur"* ]] && COMPREPLY+=("$(printf %q "$line")")
  done
}

_vmapipe_files() {
  local line
  compopt -o filenames 2>/dev/null
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$@" -- "$cur")
}

_vmapipe_archives() {
  local file
  _vmapipe_files -d
  while IFS= read -r file; do
    case $file in
    *.vma | *.vma.* | *.vmi | *.vmi.*) ;;
    *) continue ;;
    esac
    case $file in
    *.idx | *.checks | *.notes | *.protected | *.hashes | *.png | *.log) ;;
    *) COMPREPLY+=("$file") ;;
    esac
  done < <(compgen -f -- "$cur")
}

_vmapipe_value() {
  case $1 in
  file) _vmapipe_files -f ;;
  folder) _vmapipe_files -d ;;
  archive) _vmapipe_archives ;;
  socket) _vmapipe_files -f ;;
${Object.entries(LISTS)
  .map(([kind, list]) => `  ${kind})\n    _vmapipe_offer < <(sh -c '${list}' 2>/dev/null)\n${extra(kind)}    ;;`)
  .join('\n')}
  esac
}

_vmapipe() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} path='' word expects='' index
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    [[ $word == -* ]] && continue
    case $path/$word in
${commands
  .filter(({ path }) => path.length > 0)
  .map(({ path }) => `    ${pattern(path)}) path=${path.map((word) => `/${word}`).join('')} ;;`)
  .join('\n')}
    esac
  done
  # --option=VALUE comes as three words.
  if [[ $cur == = ]]; then cur=''; elif [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  case $path in
${commands.map(commandCase).join('\n')}
  esac
}

complete -F _vmapipe vmapipe
`
}

/** A pattern of case: `/job` + `/run` is what the path and the word make. */
function pattern(path: readonly string[]): string {
  return `${path
    .slice(0, -1)
    .map((word) => `/${word}`)
    .join('')}/${path.at(-1)}`
}

function extra(kind: string): string {
  // A job, a place or a control socket may also be any path.
  if (kind === 'guest') return ''
  return `    [[ \${#COMPREPLY[@]} -eq 0 ]] && _vmapipe_files ${kind === 'place' ? '-d' : '-f'}\n`
}

function commandCase({ path, options, commands, arguments: args }: CommandDescription): string {
  const flags = options.flatMap(({ short, long }) => [long ?? short!])
  const names = commands.map((one) => one.path.at(-1)!)
  return `  '${path.map((word) => `/${word}`).join('')}')
    case $prev in
${options
  .filter(({ value, isOptional }) => value !== null && !isOptional)
  .map(optionCase)
  .join('\n')}
    esac
    if [[ $cur == -* ]]; then
      _vmapipe_offer < <(printf '%s\\n' ${flags.join(' ')})
      return
    fi
    ${names.length > 0 ? `_vmapipe_offer < <(printf '%s\\n' ${names.join(' ')})` : argumentLine(args)}
    ;;`
}

function optionCase({ short, long, kind, choices }: OptionDescription): string {
  const flags = [short, long].filter((flag) => flag !== null).join(' | ')
  return `    ${flags})\n      ${choices.length > 0 ? `_vmapipe_offer < <(printf '%s\\n' ${choices.join(' ')})` : valueLine(kind)}\n      return\n      ;;`
}

function argumentLine(args: readonly { kind: ValueKind }[]): string {
  const kinds = [...new Set(args.map(({ kind }) => kind))].filter((kind) => kind !== 'none')
  return kinds.length === 0 ? ':' : kinds.map(valueLine).join('; ')
}

function valueLine(kind: ValueKind): string {
  if (kind === 'shell') return `_vmapipe_offer < <(printf '%s\\n' bash zsh fish)`
  return kind === 'none' ? ':' : `_vmapipe_value ${kind}`
}
