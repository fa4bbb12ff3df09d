/** The contract of places for files, other hosts and commands. */

import { join } from 'node:path'
import { after, before } from 'node:test'
import { SSH_HOST, startSshd } from '../../support/sshd.ts'
import { tmpDir } from '../../support/tmp.ts'
import { archivePlace } from './contract.ts'

const hooks: (() => void)[] = []
const suite = { after: (hook: () => void) => void hooks.push(hook) }
after(() => {
  for (const hook of hooks.reverse()) hook()
})

const folder = tmpDir(suite)
let ssh = ''
before(async () => {
  ssh = (await startSshd(suite)).home
})

archivePlace('a file', { noReplace: true, ranges: true, list: true, rename: true }, () => ({
  at: (name) => join(folder, name),
}))
archivePlace('another host', { noReplace: true, ranges: true, list: true, rename: true }, () => ({
  at: (name) => `ssh://${SSH_HOST}${join(ssh, name)}`,
}))
archivePlace('a command', {}, () => ({
  at: (name) => `exec:cat > '${join(folder, `by-command-${name}`)}'`,
  from: (name) => `exec:cat '${join(folder, `by-command-${name}`)}'`,
}))
