/** `vmapipe fleet join`: the agent of a host. */

import { readFileSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import { asVmapipeError, printable, VmapipeError } from '../../core/errors.ts'
import { takeNotifier } from '../../system/notify-socket.ts'
import { collect, common, examples } from '../flags.ts'
import { interruptible } from '../signals.ts'
import { noteLine, print } from '../text.ts'

interface Flags {
  tokenFile: string
  label?: string[]
  parallel?: number
  allowPlace?: string[]
  allowSockets?: string[]
  ca?: string
  onceCheck?: boolean
}

/** Milliseconds in which the agent ends. Guests are free within two seconds; then reports are written, and the planner may be told. */
const END_MS = 15_000

export function joinCommand(fleet: Command): void {
  const command = fleet
    .command('join')
    .summary('make this host one of a fleet')
    .description(
      "Runs the agent of this host in the foreground. It tells the planner which guests, jobs and archives the host has, and does what the planner asks for: to run one of the host's jobs " +
        'for a guest, to verify an archive of a job, to prune as a job says, to cancel, to report. It does nothing else, and no command line comes from the planner.\n\n' +
        'It only connects outwards. While the planner is away the host goes on by the schedules of its own job files, and of the jobs that the planner has given it; ' +
        'what was done is told when the planner is back. So the timers of these jobs are not needed: remove them with `vmapipe job uninstall`.\n\n' +
        'Jobs that the planner gives to hosts write only to places of job files of this host, and to those that --allow-place names.\n\n' +
        'A service of systemd may have Type=notify. SIGTERM ends the backups that run; they are begun again when the agent is back.',
    )
    .argument('<url>', 'the planner, such as https://planner:8460; plain http only on this host')
    .requiredOption(
      '--token-file <file>',
      'the token that `vmapipe fleet token` has printed; only its owner may read the file',
    )
    .option(
      '--label <label>',
      'a word by which central jobs name this host, such as rack-2; any number of times',
      collect,
    )
    .option('--parallel <n>', 'guests at once; the largest limits.parallel of the job files by default', atOnce)
    .option('--allow-place <place>', 'central jobs may write there, and below; any number of times', collect)
    .option(
      '--allow-sockets <folder>',
      'central jobs may look for guests by sockets there; any number of times',
      collect,
    )
    .option('--ca <file>', "certificates of the authority that has signed the planner's, as PEM")
    .option('--once-check', 'see whether the planner can be reached and takes the token, and end')
    .action((url: string, flags: Flags) => join(url, flags, rootOf(command).version() ?? ''))
  examples(
    common(command),
    'vmapipe fleet join https://planner:8460 --token-file /etc/vmapipe/fleet.token --label rack-2',
    'vmapipe fleet join https://planner:8460 --token-file fleet.token --ca planner.pem --once-check',
  )
}

function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent)
}

function atOnce(text: string): number {
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (count < 1 || count > 1000) throw new InvalidArgumentError('write a number from 1 to 1000')
  return count
}

async function join(url: string, flags: Flags, version: string): Promise<void> {
  const { readTokenFile } = await import('../../fleet/agent/token-file.ts')
  const { label } = await import('../../fleet/messages/hello.ts')
  const wrong = flags.label?.find((one) => !label.safeParse(one).success)
  if (wrong !== undefined)
    throw new VmapipeError('USAGE', `'${printable(wrong)}' is no label`, { hint: 'such as rack-2 or zone=berlin' })
  const options = {
    ...{ url, version, token: await readTokenFile(flags.tokenFile), ca: flags.ca && certificatesIn(flags.ca) },
    ...{
      labels: flags.label,
      parallel: flags.parallel,
      allowPlaces: flags.allowPlace,
      allowSockets: flags.allowSockets,
    },
  }
  if (flags.onceCheck) {
    const { checkPlanner } = await import('../../fleet/agent/check-planner.ts')
    const { signal, dispose } = interruptible()
    print(...(await checkPlanner(options, signal).finally(dispose)))
    return
  }
  const { startAgent } = await import('../../fleet/agent/agent.ts')
  const notifier = takeNotifier(process.env)
  const { signal, dispose } = interruptible({ grace: END_MS })
  const agent = await startAgent({
    ...options,
    log(level, text) {
      process.stderr.write(`${noteLine(level, printable(text))}\n`)
      notifier?.send(`STATUS=${text.slice(0, 200)}`)
    },
  })
  notifier?.send('READY=1')
  const stop = () => {
    notifier?.send('STOPPING=1')
    void agent.stop().catch(() => {})
  }
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    await agent.ended
  } finally {
    dispose()
  }
}

function certificatesIn(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw asVmapipeError(error, { file })
  }
}
