/**
 * Puts all commands together, with what they have in common. A command loads its code only when it runs, so that help and usage
 * errors come at once.
 */

import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { printable } from '../core/errors.ts'
import { abortCommand } from './commands/abort.ts'
import { backupCommand } from './commands/backup.ts'
import { catCommand } from './commands/cat.ts'
import { configCommand } from './commands/config.ts'
import { demoCommand } from './commands/demo.ts'
import { detachCommand } from './commands/detach.ts'
import { drivesCommand } from './commands/drives.ts'
import { exportCommand } from './commands/export.ts'
import { indexCommand } from './commands/index.ts'
import { listCommand } from './commands/list.ts'
import { newStageCommand } from './commands/new-stage.ts'
import { partitionsCommand } from './commands/partitions.ts'
import { repackCommand } from './commands/repack.ts'
import { restoreCommand } from './commands/restore.ts'
import { runCommand } from './commands/run.ts'
import { schemaCommand } from './commands/schema.ts'
import { serveCommand } from './commands/serve.ts'
import { stagesCommand } from './commands/stages.ts'
import { verifyCommand } from './commands/verify.ts'
import { examples } from './flags.ts'
import { styled } from './text.ts'

export function makeProgram(): Command {
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
  const commands = [
    backupCommand,
    restoreCommand,
    verifyCommand,
    listCommand,
    catCommand,
    indexCommand,
    configCommand,
    partitionsCommand,
    exportCommand,
    repackCommand,
    serveCommand,
    abortCommand,
    detachCommand,
    drivesCommand,
    runCommand,
    stagesCommand,
    newStageCommand,
    schemaCommand,
    demoCommand,
  ]
  for (const define of commands) define(program)
  return examples(
    program,
    'vmapipe backup --drive drive-scsi0=disk.raw --config qemu-server.conf -o vm.vma.zst',
    'vmapipe restore vm.vma.zst vm/',
    'vmapipe demo',
  )
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

function version(): string {
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
      if (name === 'vmapipe') return version
    } catch {
      // It is not there: try the other place.
    }
  }
  return 'unknown'
}
