/** The address of the database with its password, which is in no argument of a program and in no log. */

import { VmapipeError } from '../../core/errors.ts'
import { readSecret } from '../../jobs/notify/secrets.ts'

interface Asked {
  /** Of the command line or of the config. */
  database?: string | undefined
  passwordFile?: string | undefined
  env?: NodeJS.ProcessEnv
}

/** Undefined for the planner's own database. `VMAPIPE_DATABASE` may have a password, as an EnvironmentFile= of a unit is only root's. */
export async function databaseUrl({ database, passwordFile, env = process.env }: Asked): Promise<string | undefined> {
  const text = database ?? (env.VMAPIPE_DATABASE || undefined)
  if (text === undefined) {
    if (passwordFile === undefined) return undefined
    throw new VmapipeError('USAGE', 'there is a password of a database, and no database', {
      hint: 'give --database postgres://USER@HOST/NAME',
    })
  }
  const url = URL.parse(text)
  if (url === null || !/^postgres(ql)?:$/.test(url.protocol))
    throw new VmapipeError('USAGE', 'the database must be named as postgres://USER@HOST/NAME', {
      hint: 'without a name the planner keeps its own in a folder',
    })
  const hasPassword = url.password !== '' || url.searchParams.has('password')
  if (database !== undefined && hasPassword)
    throw new VmapipeError(
      'USAGE',
      'a password in the address of the database can be read by every user of this host',
      {
        hint: 'put it into a file: --database-password-file FILE; or the address into the variable VMAPIPE_DATABASE',
      },
    )
  if (passwordFile === undefined) return text
  // Node writes what has a special meaning in a URL in its escaped form.
  url.password = await readSecret(passwordFile)
  return url.href
}
