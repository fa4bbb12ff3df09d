/** `vmapipe web` as a process, for a host of the test's own, and guests that write. */

import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DemoDrive, makeImage } from '../../../src/cli/demo/drives.ts'
import { DemoGuest } from '../../../src/cli/demo/guest.ts'
import { LAUNCHER, startCli } from '../../cli/cli.ts'
import { type Hosted, hosted } from '../host/hosted.ts'

type Hooks = { after(hook: () => unknown): void }

export const LONGEST_MS = 400_000

export interface HostPage extends Hosted {
  /** The one-time link that it printed. */
  link: string
  origin: string
  /** The folder that people may restore to. */
  restored: string
}

/** `env`: what its commands need, such as the address of a libvirt. */
export async function serveHostPage(t: Hooks, env: Record<string, string> = {}): Promise<HostPage> {
  const host = hosted(t)
  Object.assign(host.env, env)
  const restored = join(host.dir, 'restored')
  mkdirSync(restored)
  const child = startCli(['web', '--no-open', '--listen', '127.0.0.1:0', '--restore-to', restored], {
    env: host.env,
    longest: LONGEST_MS,
  })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr.on('data', (data) => {
    said += data
  })
  const lines = createInterface({ input: child.stdout })
  const [link] = await Promise.race([
    once(lines, 'line'),
    once(child, 'close').then(() => Promise.reject(new Error(said))),
  ])
  return Object.assign(host, { link, restored, origin: new URL(link).origin })
}

/** A guest that runs on `vmapipe serve` and writes all the time; `size` in MiB. Returns its control socket. */
export async function writingGuest(t: Hooks, host: Hosted, name: string, size: number): Promise<string> {
  const disk = join(host.dir, `${name}.raw`)
  const drive = new DemoDrive({ name: 'drive-scsi0', size, text: size / 4, noise: size / 2, zeros: 0 })
  const end = new AbortController()
  await makeImage(disk, drive, end.signal)
  const [socket, control] = ['nbd', 'ctl'].map((suffix) => join(host.dir, `${name}.${suffix}`))
  const ready = ['--socket', socket, '--control', control, '--ready-fd', '1']
  const child = startCli(['serve', '-d', `drive-scsi0=${disk}`, ...ready], { env: host.env, longest: LONGEST_MS })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  const guest = await DemoGuest.start([drive], socket, end.signal, { thinking: 60, journal: false })
  // It writes until its disk is taken away.
  guest.trouble.catch(() => {})
  t.after(() => guest.stop().catch(() => end.abort()))
  return control
}

/** A folder with `vmapipe` in it, as an installed package has. */
export function commandFolder(host: Hosted): string {
  const folder = join(host.dir, 'bin')
  mkdirSync(folder)
  writeFileSync(join(folder, 'vmapipe'), `#!/bin/sh\nexec '${process.execPath}' '${LAUNCHER}' "$@"\n`, { mode: 0o755 })
  return folder
}
