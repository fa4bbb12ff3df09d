/** Flags of commands that serve the page: where, by which certificate, and which proxy is believed. */

import { type Command, Option } from 'commander'
import type { Role } from '../web/house.ts'
import { collect, pairs } from './flags.ts'
import { type SocketFlags, socketMode } from './socket-access.ts'

export const ROLE_NAMES: Role[] = ['look', 'operate', 'administer']

export interface PageFlags extends SocketFlags {
  listen: string
  tlsCert?: string
  tlsKey?: string
  hostName?: string[]
  behindProxy?: boolean
  trustFrom?: string[]
  trustHeader?: string
  headerRole: Role
  groupHeader?: string
  group?: [string, string][]
}

/** `usual`: where it listens by default. */
export function pageFlags(command: Command, usual: string): Command {
  return proxyFlags(
    command
      .option('--listen <address>', 'host:port, or the path of a unix socket', usual)
      .option('--tls-cert <file>', 'certificate and its chain, as PEM; it is read again when it changes')
      .option('--tls-key <file>', 'its key, as PEM'),
  )
}

/** By which names the page is called, and which proxy in front of it is believed. */
export function proxyFlags(command: Command): Command {
  return command
    .option('--host-name <name>', 'a name by which browsers may call the page; any number of times', collect)
    .option('--socket-mode <mode>', 'permissions of the unix socket; 0600 by default', socketMode)
    .option('--socket-group <group>', 'its group')
    .option('--behind-proxy', 'a proxy in front speaks TLS with browsers, and passes their Host header on')
    .option(
      '--trust-from <address>',
      'an address of the proxy, such as 127.0.0.1, 10.0.0.0/8 or unix: its X-Forwarded-For is believed; any number of times',
      collect,
    )
    .option(
      '--trust-header <name>',
      'the header in which the proxy names the user whom it has signed in, such as X-Remote-User',
    )
    .addOption(new Option('--header-role <role>', 'what users of the proxy may do').choices(ROLE_NAMES).default('look'))
    .option('--group-header <name>', 'the header in which the proxy names groups of the user, divided by commas')
    .option('--group <name=role>', 'the role of such a group; any number of times', pairs('admins=administer'))
}
