/** `vmapipe fleet serve`: the planner. */

import type { Command } from 'commander'
import { common, examples } from '../flags.ts'
import { proxyFlags } from '../page-flags.ts'
import type { ServeFlags } from './serve-flags.ts'

export function serveCommand(fleet: Command): void {
  const command = fleet
    .command('serve')
    .summary('be the planner of many hosts')
    .description(
      'Plans the backups of all hosts, and answers their agents and people. Without --database it keeps PGlite, a PostgreSQL in this process, in a folder. ' +
        'If another planner uses the same database, this one waits, and takes over when the other ends.\n\n' +
        'It listens on loopback without TLS, or anywhere with it. The owner needs no token: the other commands of `vmapipe fleet` find it by a socket.\n\n' +
        'The page shows the fleet; it has the same certificate, but on loopback none. Its accounts are those of `vmapipe web user … --state DIR`, where DIR is the folder of the planner.\n\n' +
        'A service of systemd may have Type=notify and WatchdogSec=. SIGHUP reads the certificate, the limits of storages and the folder of central jobs again. SIGTERM ends it in good order.',
    )
    .option(
      '--database <url>',
      'PostgreSQL, such as postgres://vmapipe@db/vmapipe; or the variable VMAPIPE_DATABASE. Its password is in --database-password-file, PGPASSWORD or ~/.pgpass',
    )
    .option('--database-password-file <file>', 'its password')
    .option('--listen <host:port>', 'where agents and people connect; 127.0.0.1:8460 by default')
    .option('--tls-cert <file>', 'the certificate as PEM; it is read again when it is replaced')
    .option('--tls-key <file>', 'its key as PEM')
    .option('--state <dir>', 'the folder of the planner; fleet in the folder of vmapipe by default')
    .option(
      '--config <file>',
      'the same options, limits of storages, and a folder of central jobs (`vmapipe schema fleet`)',
    )
    .option(
      '--page <address>',
      'where browsers find the page: host:port, or the path of a unix socket',
      '127.0.0.1:8461',
    )
    .option('--no-page', 'serve no page')
    .option('--no-link', 'print no link that signs in to the page: everybody has an account')
    .option('-q, --quiet', 'nothing but warnings and errors')
  proxyFlags(command).action(async (flags: ServeFlags) => {
    const { serveFleet } = await import('./serve.ts')
    await serveFleet(flags)
  })
  examples(
    common(command),
    'vmapipe fleet serve',
    'vmapipe fleet serve --listen 0.0.0.0:8460 --tls-cert planner.pem --tls-key planner.key',
    'vmapipe fleet serve --database postgres://vmapipe@db/vmapipe --config /etc/vmapipe/fleet.yaml',
  )
}
