/** `vmapipe web`: the page of this host, and who may sign in to it. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Role } from '../../web/house.ts'
import { collect, common, examples } from '../flags.ts'
import { pageFlags, ROLE_NAMES } from '../page-flags.ts'
import { print } from '../text.ts'
import type { WebFlags } from '../web-serving.ts'

export function webCommand(program: Command): void {
  const web = program
    .command('web')
    .summary('show this host on a page in the browser')
    .description(
      'Serves a page that shows running backups, guests, archives and jobs of this host, and lets people start, check and restore.\n\n' +
        'It prints a link that signs one browser in, once, within ten minutes; `vmapipe web link` prints another. ' +
        '`vmapipe web user add NAME` makes an account with a password. Roles: look; operate, which also starts, checks, restores and downloads; ' +
        'administer, which also changes accounts.\n\n' +
        'Without TLS the page is served to this host alone. SIGTERM ends it in good order.',
    )
    .option('--state <folder>', 'where accounts, the audit log and the state of jobs are; VMAPIPE_STATE does the same')
    .option('--restore-to <folder>', 'a folder that people may restore to; any number of times', collect)
    .option('--place <place>', 'a place of archives that no job names; any number of times', collect)
    .option('--no-link', 'print no link: everybody has an account')
    .option('--no-open', 'do not open a browser, which is done at a terminal of a desktop')
    .option('-q, --quiet', 'nothing but the link, and errors')
    .action(async (flags: WebFlags) => {
      const { serveHostPage } = await import('../web-serving.ts')
      await serveHostPage(flags)
    })
  examples(
    common(pageFlags(web, '127.0.0.1:8461')),
    'vmapipe web',
    'vmapipe web --listen 0.0.0.0:8461 --tls-cert page.crt --tls-key page.key --host-name backup.example',
    'vmapipe web --listen /run/vmapipe/web.sock --behind-proxy --host-name backup.example',
    'vmapipe web user add alice --role operate',
    'vmapipe web link --role look',
  )
  linkCommand(web)
  userCommands(web)
}

/** The options of the command above are given before the name of this one, or here. */
interface StateFlags {
  state?: string
}

function linkCommand(web: Command): void {
  web
    .command('link')
    .summary('print another one-time link, while the page is served')
    .description('Prints a link that signs one browser in, once, within ten minutes.')
    .addOption(roleOption('what it lets people do', 'administer'))
    .option('--state <folder>', 'that of the page')
    .action(async (_flags: unknown, command: Command) => {
      const { role, state } = command.optsWithGlobals<StateFlags & { role: Role }>()
      const { makeLink } = await import('../web-people.ts')
      print(await makeLink(role, state))
    })
}

function userCommands(web: Command): void {
  const user = web
    .command('user')
    .summary('accounts of the page')
    .description('Adds, lists, changes and removes accounts of the page.')
  const account = (name: string, summary: string) =>
    user
      .command(name)
      .summary(summary)
      .description(`${summary[0].toUpperCase()}${summary.slice(1)}.`)
      .option('--state <folder>', 'that of the page')
  const password =
    'The password is read from standard input, or asked for at the terminal. It has at least 12 characters.'
  account('add', 'add an account')
    .description(`Adds an account. ${password}`)
    .argument('<name>', 'letters, digits, dot, dash, underscore and @')
    .addOption(roleOption('what it may do', 'look'))
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { role, state } = command.optsWithGlobals<StateFlags & { role: Role }>()
      const { addUser } = await import('../web-people.ts')
      print(await addUser(name, role, state))
    })
  account('list', 'list the accounts')
    .option('--json', 'as JSON')
    .action(async (_flags: unknown, command: Command) => {
      const { json, state } = command.optsWithGlobals<StateFlags & { json?: boolean }>()
      const { userLines } = await import('../web-people.ts')
      print(...(await userLines(json ?? false, state)))
    })
  account('remove', 'remove an account, and end its sessions')
    .argument('<name>', 'the account')
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { removeUser } = await import('../web-people.ts')
      print(await removeUser(name, command.optsWithGlobals<StateFlags>().state))
    })
  account('role', 'change what an account may do')
    .argument('<name>', 'the account')
    .argument('<role>', 'look, operate or administer', roleName)
    .action(async (name: string, role: Role, _flags: unknown, command: Command) => {
      const { changeRole } = await import('../web-people.ts')
      print(await changeRole(name, role, command.optsWithGlobals<StateFlags>().state))
    })
  account('password', 'give an account another password, and end its sessions')
    .description(`Gives an account another password, and ends its sessions. ${password}`)
    .argument('<name>', 'the account')
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { changePassword } = await import('../web-people.ts')
      print(await changePassword(name, command.optsWithGlobals<StateFlags>().state))
    })
}

function roleOption(about: string, usual: Role): Option {
  return new Option('--role <role>', about).choices(ROLE_NAMES).default(usual)
}

function roleName(text: string): Role {
  const role = ROLE_NAMES.find((one) => one === text)
  if (role === undefined) throw new InvalidArgumentError('it is look, operate or administer')
  return role
}
