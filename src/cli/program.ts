/**
 * Puts the commands together, with what they have in common. Only the command that is named is loaded, and its operation only when it
 * runs, so that all starts at once, also help and usage errors.
 */

import { Command } from 'commander'
import { printable } from '../core/errors.ts'
import { examples } from './flags.ts'
import { styled } from './text.ts'
import { version } from './version.ts'

type Define = (program: Command) => void

/** The code of each command, in the order of the help. Only that of the command that runs is loaded. */
const COMMANDS: Record<string, () => Promise<Define>> = {
  backup: async () => (await import('./commands/backup.ts')).backupCommand,
  restore: async () => (await import('./commands/restore.ts')).restoreCommand,
  verify: async () => (await import('./commands/verify.ts')).verifyCommand,
  archives: async () => (await import('./commands/archives.ts')).archivesCommand,
  protect: async () => (await import('./commands/protect.ts')).protectCommand,
  note: async () => (await import('./commands/note.ts')).noteCommand,
  forget: async () => (await import('./commands/forget.ts')).forgetCommand,
  prune: async () => (await import('./commands/prune.ts')).pruneCommand,
  list: async () => (await import('./commands/list.ts')).listCommand,
  cat: async () => (await import('./commands/cat.ts')).catCommand,
  index: async () => (await import('./commands/index.ts')).indexCommand,
  config: async () => (await import('./commands/config.ts')).configCommand,
  partitions: async () => (await import('./commands/partitions.ts')).partitionsCommand,
  files: async () => (await import('./commands/files.ts')).filesCommand,
  export: async () => (await import('./commands/export.ts')).exportCommand,
  repack: async () => (await import('./commands/repack.ts')).repackCommand,
  copy: async () => (await import('./commands/copy.ts')).copyCommand,
  serve: async () => (await import('./commands/serve.ts')).serveCommand,
  abort: async () => (await import('./commands/abort.ts')).abortCommand,
  detach: async () => (await import('./commands/detach.ts')).detachCommand,
  drives: async () => (await import('./commands/drives.ts')).drivesCommand,
  job: async () => (await import('./commands/job.ts')).jobCommand,
  fleet: async () => (await import('./commands/fleet.ts')).fleetCommand,
  unprotected: async () => (await import('./commands/unprotected.ts')).unprotectedCommand,
  web: async () => (await import('./commands/web.ts')).webCommand,
  run: async () => (await import('./commands/run.ts')).runCommand,
  stages: async () => (await import('./commands/stages.ts')).stagesCommand,
  'new-stage': async () => (await import('./commands/new-stage.ts')).newStageCommand,
  schema: async () => (await import('./commands/schema.ts')).schemaCommand,
  completion: async () => (await import('./commands/completion.ts')).completionCommand,
  demo: async () => (await import('./commands/demo.ts')).demoCommand,
}

export async function makeProgram(argv: readonly string[]): Promise<Command> {
  const program = new Command('vmapipe')
    .description(
      'Backs up the drives of virtual machines to VMA archives, the format of Proxmox VE, and restores them.',
    )
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this, or the help of a command')
    .helpCommand('help [command]', 'show the help of a command')
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ sortSubcommands: false, styleTitle: (text) => styled('bold', text) })
    .configureOutput({ outputError: (text, write) => write(usageLine(text)) })
  for (const define of await wanted(argv)) define(program)
  return examples(
    program,
    'vmapipe backup --drive drive-scsi0=disk.raw --config qemu-server.conf -o vm.vma.zst',
    'vmapipe restore vm.vma.zst vm/',
    'vmapipe demo',
  )
}

/** The command that is named, or all of them: for the help, for completion, and to suggest one. The version needs none. */
async function wanted([, , first]: readonly string[]): Promise<Define[]> {
  if (first === '--version' || first === '-V') return []
  const load = Object.hasOwn(COMMANDS, first) && first !== 'completion' ? [COMMANDS[first]] : Object.values(COMMANDS)
  return Promise.all(load.map((one) => one()))
}

/** Turns commander's "error: …" into our form: one line. */
function usageLine(text: string): string {
  const [first, ...suggestions] = text.trim().split('\n')
  const what = first
    .replace(/^error: /, '')
    .replace(/\.$/, '')
    .replace('is invalid. ', 'is wrong: ')
  const line = [what, ...suggestions.map((s) => s.replace(/^\(|\)$/g, '').replace(/^Did/, 'did'))].join('; ')
  return `${styled('red', 'vmapipe:', process.stderr)} ${printable(line)}; see --help\n`
}
