/** Where a host keeps what jobs have to remember, and their locks and sockets. */

import { chmod, lstat, mkdir } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, VmapipeError } from '../../core/errors.ts'

/** The folder of what must outlast a restart: that of VMAPIPE_STATE, `/var/lib/vmapipe` for root, else that of the user. */
export function stateFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VMAPIPE_STATE) return env.VMAPIPE_STATE
  // systemd sets it for a unit with StateDirectory=.
  if (env.STATE_DIRECTORY) return env.STATE_DIRECTORY.split(':')[0]
  if (process.getuid?.() === 0) return '/var/lib/vmapipe'
  return join(env.XDG_STATE_HOME || join(homedir(), '.local/state'), 'vmapipe')
}

/** The folder of locks and sockets, which a restart empties: that of VMAPIPE_RUNTIME, `/run/vmapipe` for root, else that of the user. */
export function runtimeFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VMAPIPE_RUNTIME) return env.VMAPIPE_RUNTIME
  if (process.getuid?.() === 0) return '/run/vmapipe'
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, 'vmapipe')
  return join(tmpdir(), `vmapipe-${process.getuid?.() ?? 0}`)
}

/** The folders where job files are looked for by their names. */
export function jobFolders(env: NodeJS.ProcessEnv = process.env): string[] {
  const own = join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'vmapipe/jobs')
  return process.getuid?.() === 0 ? ['/etc/vmapipe/jobs', own] : [own, '/etc/vmapipe/jobs']
}

/** Makes a folder that only this user may use. Throws FAILED if it is another's, who could then hold our locks. */
export async function ownFolder(path: string): Promise<string> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    const stats = await lstat(path)
    if (!stats.isDirectory() || stats.uid !== (process.getuid?.() ?? stats.uid))
      throw new Error('it belongs to another user')
    if ((stats.mode & 0o022) !== 0) await chmod(path, stats.mode & 0o755)
    return path
  } catch (cause) {
    throw new VmapipeError('FAILED', `the folder '${path}' cannot be used: ${describe(cause as Error)}`, { cause })
  }
}
