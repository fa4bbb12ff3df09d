/**
 * Writes the program of the package: npm run build. Our files become a bundle in dist, cut where `import()` loads a part later, so
 * that a command loads few files. A package that is a development dependency is bundled too; one of `dependencies` is loaded from
 * node_modules when it is needed. Beside each file is a source map, by which a stack trace names the files of src/.
 */

import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join, posix, relative, sep } from 'node:path'
import { type OutputChunk, type Plugin, rolldown } from 'rolldown'

const NEEDED = 24

const root = join(import.meta.dirname, '..')
const src = join(root, 'src')
const dist = join(root, 'dist')

/** Its types are part of ours, so it is a dependency. Bundled it is one file instead of a hundred. */
const BUNDLED_TOO = ['zod']

const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const external = Object.keys(dependencies).filter((name) => !BUNDLED_TOO.includes(name))

/** Files of src/ that something else than an import loads: they keep their places in dist. */
const workers = globSync('**/*-worker.ts', { cwd: src }).map((file) => file.replace(/\.ts$/, ''))

const OWN_URL = /__OWN_URL__\("([^"]+)"\)/g

/** In the bundle `import.meta.url` stays the place that the file has in src/, with dist/ for src/: what is found beside it is found. */
const ownUrls: Plugin = {
  name: 'own-urls',
  transform(code, id) {
    if (!id.startsWith(src + sep) || !code.includes('import.meta.url')) return null
    const file = relative(src, id).replaceAll(sep, '/').replace(/\.ts$/, '.js')
    return { code: code.replaceAll('import.meta.url', `__OWN_URL__(${JSON.stringify(file)})`), map: null }
  },
  renderChunk(code, { fileName }) {
    if (!code.includes('__OWN_URL__')) return null
    const own = (_: string, file: string) =>
      `new URL(${JSON.stringify(posix.relative(posix.dirname(fileName), file))}, import.meta.url).href`
    return { code: code.replace(OWN_URL, own), map: null }
  },
}

/** Commander could run a command that is a program of its own. Ours are none, and what starts programs takes time to load. */
const noPrograms: Plugin = {
  name: 'no-programs',
  resolveId: (id, importer) =>
    id === 'node:child_process' && importer?.includes('/node_modules/commander/') ? '\0no-programs' : null,
  load: (id) => (id === '\0no-programs' ? 'export {}' : null),
}

const bundle = await rolldown({
  input: {
    api: join(src, 'index.ts'),
    'cli/main': join(src, 'cli/main.ts'),
    ...Object.fromEntries(workers.map((file) => [file, join(src, `${file}.ts`)])),
  },
  platform: 'node',
  external: external.map((name) => new RegExp(`^${name}(/|$)`)),
  tsconfig: false,
  plugins: [ownUrls, noPrograms],
})
const { output } = await bundle.write({
  dir: dist,
  format: 'esm',
  sourcemap: true,
  entryFileNames: '[name].js',
  chunkFileNames: 'chunks/[name].js',
})
const chunks = output.filter((file): file is OutputChunk => file.type === 'chunk')
for (const { sourcemapFileName } of chunks) if (sourcemapFileName !== null) shrinkMap(join(dist, sourcemapFileName))
writeLicenses(chunks.flatMap(({ moduleIds }) => moduleIds))
writeEntry(chunks.find(({ name }) => name === 'api')!.exports)

/** The sources are not in the package: their names and lines are enough. */
function shrinkMap(file: string): void {
  const { sourcesContent, ...map } = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify(map))
}

/** The licences of what is bundled, which ask to be kept with each copy. */
function writeLicenses(modules: readonly string[]): void {
  const folders = new Set(modules.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id) ?? []))
  const texts = [...folders].sort().map((folder) => {
    const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const [file] = globSync('{LICENSE,LICENCE,license}*', { cwd: folder })
    if (file === undefined) throw new Error(`${name} has no licence that could be kept`)
    return `${name} ${version}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`
  })
  const rule = `\n${'-'.repeat(80)}\n\n`
  writeFileSync(join(dist, 'LICENSES.txt'), ['The bundle has code of these packages:\n', ...texts].join(rule))
}

/**
 * Writes what `import 'vmapipe'` loads. It says on an old Node what is needed, before it loads anything that such a Node does not
 * know; static imports would end with a SyntaxError first.
 */
function writeEntry(names: readonly string[]): void {
  writeFileSync(
    join(dist, 'index.js'),
    `import { createRequire } from 'node:module'

if (Number.parseInt(process.versions.node, 10) < ${NEEDED}) {
  throw new Error(\`vmapipe: Node ${NEEDED} or newer is needed, this is \${process.versions.node}\`)
}

export const {
${names.map((name) => `  ${name},\n`).join('')}} = createRequire(import.meta.url)('./api.js')
`,
  )
}
