/** Which planner a command asks: that of this user on this host by its socket, or another one by its URL and a token. */

import { join } from 'node:path'
import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import type { PeopleClient } from '../../fleet/client/people-client.ts'
import { common } from '../flags.ts'
import { interruptible } from '../signals.ts'

export interface PlannerFlags {
  url?: string
  tokenFile?: string
  ca?: string
}

export const SOCKET_NAME = 'fleet.sock'

export function plannerFlags(command: Command): Command {
  return common(
    command
      .option('--url <url>', 'the planner on another host, such as https://planner:8460 (VMAPIPE_FLEET_URL)')
      .option('--token-file <file>', "a person's token, for --url (VMAPIPE_FLEET_TOKEN_FILE)")
      .option('--ca <file>', "PEM certificates of the authority of the planner's (VMAPIPE_FLEET_CA)"),
  )
}

/** Asks the planner, until a signal ends the command. */
export async function withPlanner<T>(
  flags: PlannerFlags,
  body: (planner: PeopleClient, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { signal, dispose } = interruptible()
  try {
    const { PeopleClient } = await import('../../fleet/client/people-client.ts')
    return await body(new PeopleClient(await placeOf(flags), { signal }), signal)
  } finally {
    dispose()
  }
}

async function placeOf({
  url = process.env.VMAPIPE_FLEET_URL || undefined,
  tokenFile = process.env.VMAPIPE_FLEET_TOKEN_FILE || undefined,
  ca = process.env.VMAPIPE_FLEET_CA || undefined,
}: PlannerFlags) {
  if (url === undefined) {
    if ((tokenFile ?? ca) !== undefined && process.env.VMAPIPE_FLEET_URL === undefined)
      throw new VmapipeError('USAGE', 'a token or a certificate is for a planner on another host', {
        hint: 'give --url',
      })
    const { runtimeFolder } = await import('../../jobs/state/folders.ts')
    return { socket: join(runtimeFolder(), SOCKET_NAME) }
  }
  if (tokenFile === undefined)
    throw new VmapipeError('USAGE', 'the planner at a URL asks for a token', {
      hint: 'give --token-file; on the host of the planner: vmapipe fleet token new NAME --person --out FILE',
    })
  const { readCertificates, readSecret } = await import('../../jobs/notify/secrets.ts')
  const token = await readSecret(tokenFile)
  return { url, token, ...(ca !== undefined && { ca: await readCertificates(ca) }) }
}
