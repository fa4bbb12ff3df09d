/**
 * Makes the page out of src/web/page: one script, one style sheet, one icon and the HTML that names them. Script and style sheet have
 * the hash of their content in their names, so that browsers may keep them for ever.
 */

import { createHash } from 'node:crypto'
import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { Plugin } from 'rolldown'
import { PAGE_TYPES } from './page-types.ts'
import type { Page, PageFile } from './server/page-files.ts'

const folder = join(import.meta.dirname, 'page')

export async function buildPage(): Promise<Page> {
  const script = await bundle()
  const style = styleSheet()
  const icon = readFileSync(join(folder, 'icon.svg'))
  const assets = { 'page.js': script, 'page.css': style, 'icon.svg': icon }
  const files = new Map<string, PageFile>()
  let html = readFileSync(join(folder, 'index.html'), 'utf8')
  for (const [name, body] of Object.entries(assets)) {
    const [stem, suffix] = name.split('.')
    const hashed = `/assets/${stem}.${createHash('sha256').update(body).digest('hex').slice(0, 8)}.${suffix}`
    html = html.replaceAll(`/assets/${name}`, hashed)
    files.set(hashed, { type: PAGE_TYPES[suffix], body, immutable: true })
  }
  files.set('/index.html', { type: PAGE_TYPES.html, body: Buffer.from(html) })
  return files
}

/** Writes the page below `target`: `npm run build`. */
export async function writePage(target: string): Promise<void> {
  for (const [path, { body }] of await buildPage()) {
    const file = join(target, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, body)
  }
}

/** The modules that are in the bundle, for the licences. */
export const PAGE_MODULES = ['preact', '@preact/signals', '@preact/signals-core', 'uplot']

/** uPlot has more kinds of charts, and parts for others to call; without their names the bundler leaves them out. */
const linesOnly: Plugin = {
  name: 'lines-only',
  transform(code, id) {
    if (!id.endsWith('/uPlot.esm.js')) return null
    const [chart, extras] = code.split(/^(?=uPlot\.assign = )/m)
    const end = extras?.indexOf('export {') ?? -1
    if (end < 0) throw new Error('uPlot has another form than it had: see what the page needs of it')
    return { code: chart + extras.slice(end), map: null }
  },
}

async function bundle(): Promise<Buffer> {
  const { rolldown } = await import('rolldown')
  const build = await rolldown({
    input: join(folder, 'main.tsx'),
    platform: 'browser',
    tsconfig: false,
    plugins: [linesOnly],
    transform: {
      target: 'es2023',
      // Children as arguments: the name of the property for them would be in the page a thousand times.
      jsx: { runtime: 'classic', pragma: 'h', pragmaFrag: 'Fragment', pure: false },
      inject: { h: ['preact', 'h'], Fragment: ['preact', 'Fragment'] },
    },
  })
  try {
    const { output } = await build.generate({ format: 'esm', minify: true, sourcemap: false })
    return Buffer.from(output[0].code)
  } finally {
    await build.close()
  }
}

/** The sheets of src/web/page/style in the order of their names, and that of uPlot; without comments and indentation. */
function styleSheet(): Buffer {
  const uplot = createRequire(import.meta.url).resolve('uplot/dist/uPlot.min.css')
  const sheets = [
    uplot,
    ...globSync('style/*.css', { cwd: folder })
      .sort()
      .map((name) => join(folder, name)),
  ]
  const text = sheets.map((sheet) => readFileSync(sheet, 'utf8')).join('\n')
  const short = text
    .replaceAll(/\/\*.*?\*\//gs, '')
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/ ?([{};,>~]) ?/g, '$1')
    .replaceAll(': ', ':')
    .replaceAll(';}', '}')
  return Buffer.from(short.trim())
}
