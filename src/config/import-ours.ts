/** Imports a module whose `vmapipe` is this copy, wherever the module is: two copies would not recognise each other's errors. */

import { registerHooks } from 'node:module'
import { extname } from 'node:path'
import { pathToFileURL } from 'node:url'

/** `specifier` counts from the file with the URL `parent`. */
export async function importOurs(specifier: string, parent: string): Promise<Record<string, unknown>> {
  const ours = new URL(`../index${extname(import.meta.url)}`, import.meta.url).href
  // Of a bundle it is the file that this code is in.
  const self = pathToFileURL(import.meta.filename).href
  const hooks = registerHooks({
    resolve: (asked, context, next) => {
      if (asked === 'vmapipe') return next(ours, context)
      return asked === specifier && context.parentURL === self
        ? next(specifier, { ...context, parentURL: parent })
        : next(asked, context)
    },
  })
  try {
    return await import(specifier)
  } finally {
    hooks.deregister()
  }
}
