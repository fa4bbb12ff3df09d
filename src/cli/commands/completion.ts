import { Argument, type Command } from 'commander'
import { common, examples } from '../flags.ts'
import { print } from '../text.ts'

export function completionCommand(program: Command): void {
  const command = program
    .command('completion')
    .summary('print the completion of a shell')
    .description(
      'Prints a script by which the shell completes commands, flags and their values: guests of libvirt, control sockets, jobs, archives and ' +
        'places. The package has the same scripts in dist/completions, and man pages in dist/man.',
    )
    .addArgument(new Argument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: 'bash' | 'zsh' | 'fish') => {
      const { COMPLETIONS } = await import('../completion/completions.ts')
      const { describeCommand } = await import('../describe-commands.ts')
      print(COMPLETIONS[shell](describeCommand(program)).trimEnd())
    })
  examples(
    common(command),
    'eval "$(vmapipe completion bash)"',
    'vmapipe completion zsh > ~/.zfunc/_vmapipe',
    'vmapipe completion fish > ~/.config/fish/completions/vmapipe.fish',
  )
}
