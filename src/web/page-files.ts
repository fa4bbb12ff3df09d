/**
 * The files of the page as the server sends them: from dist/web/page in the package, or made in memory in a checkout, when the page
 * is first asked for.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { PAGE_TYPES } from './page-types.ts'

import type { Page } from './server/page-files.ts'

let files: Promise<Page> | undefined

export function pageFiles(): Promise<Page> {
  files ??= load()
  return files
}

async function load(): Promise<Page> {
  const folder = fileURLToPath(new URL('page', import.meta.url))
  if (existsSync(`${folder}/main.tsx`)) {
    // The name is in a variable, so that the package is not bundled with its own bundler.
    const builder = './build-page.ts'
    const { buildPage } = (await import(builder)) as typeof import('./build-page.ts')
    return buildPage()
  }
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.\w+$/.test(name))
  return new Map(
    names.map((name) => [
      `/${name.replaceAll('\\', '/')}`,
      {
        type: PAGE_TYPES[name.split('.').at(-1)!],
        body: readFileSync(`${folder}/${name}`),
        immutable: name.startsWith('assets'),
      },
    ]),
  )
}
