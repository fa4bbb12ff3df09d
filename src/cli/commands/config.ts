import type { Command } from 'commander'
import { printable, VmapipeError } from '../../core/errors.ts'
import type { ConfigFile } from '../../core/items.ts'
import { type CommonFlags, common, examples } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { interruptible } from '../signals.ts'
import { listing, printBytes } from '../text.ts'

interface Flags extends CommonFlags, KeyFlags {
  config?: string
}

/** The config file that is printed if there are several and the user named none. */
const USUAL = 'qemu-server.conf'

export function configCommand(program: Command): void {
  const command = program
    .command('config')
    .summary('print a config file of an archive')
    .description(`Prints a config file of an archive: the one named, else ${USUAL}, else the only one there is.`)
    .argument('<archive>', 'a path, - for standard input, ssh://user@host/path, s3://bucket/name, exec:COMMAND')
    .option('-c, --config <name>', 'which one')
    .action(printConfig)
  examples(
    keyFlags(common(command)),
    'vmapipe config vm.vma.zst',
    'vmapipe config -c qemu-server.fw vm.vma.zst > vm.fw',
  )
}

/** The bytes as they are to a file or a pipe. A terminal gets text alone. Throws USAGE if the archive does not have it. */
export async function printConfig(archive: string, { config, ...flags }: Flags): Promise<void> {
  const keys = await keyringOf(flags)
  const { quickManifest } = await import('../../operations/quick-manifest.ts')
  const { signal, dispose } = interruptible()
  const { configs } = await quickManifest({ from: archive, keys, signal }).finally(dispose)
  const { name, data } = pick(configs, config)
  if (process.stdout.isTTY) refuseControlCharacters(name, data)
  printBytes(data)
}

/** On a terminal a config file must not move the cursor. A file or a pipe gets any bytes. */
function refuseControlCharacters(name: string, data: Uint8Array): void {
  const lines = Buffer.from(data).toString().split(/\r?\n/)
  if (
    lines.every(
      (line) => printable(line.replaceAll('\t', ' ')) === line.replaceAll('\t', ' ') && !line.includes('\ufffd'),
    )
  )
    return
  throw new VmapipeError('USAGE', `the config file '${name}' has control characters or other bytes that are no text`, {
    hint: 'write it into a file, by > FILE, or show it by | cat -v',
  })
}

function pick(configs: readonly ConfigFile[], wanted: string | undefined): ConfigFile {
  const chosen =
    // If several have the same name, the last one counts, as in a restore.
    configs.findLast(({ name }) => name === (wanted ?? USUAL)) ??
    configs.findLast(({ name }) => printable(name) === wanted) ??
    (wanted === undefined && configs.length === 1 ? configs[0] : undefined)
  if (chosen !== undefined) return chosen
  const names = configs.map(({ name }) => name)
  const missing = wanted === undefined ? (names.length === 0 ? 'config file' : USUAL) : `config file '${wanted}'`
  throw new VmapipeError('USAGE', `the archive has no ${missing}`, {
    hint: names.length === 0 ? undefined : `it has ${listing(names)}; pick one with -c`,
  })
}
