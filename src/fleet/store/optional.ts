/** The database's packages are an optional part of the installation: only the planner needs them, and they are large. */

import { VmapipeError } from '../../core/errors.ts'

/** What `npm install` is told, with the versions that were tried together. An npm of an old Node picks an old pg-boss if none is named. */
const PACKAGES = 'npm install pg-boss@12.38.0 pg@8.23.1 @electric-sql/pglite@0.5.17'

/** Gives what `load` imports. Throws FAILED with the command that installs it if the package is missing. */
export async function optionalPackage<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause
    throw new VmapipeError('FAILED', `the planner needs the package ${name}, which is not installed`, {
      hint: `install it beside vmapipe: ${PACKAGES}`,
      cause,
    })
  }
}
