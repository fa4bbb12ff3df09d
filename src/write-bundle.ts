/**
 * Writes the program of the package: npm run build. Our files become a bundle in dist, cut where `import()` loads a part later, so
 * that a command loads few files. A package that is a development dependency is bundled too; one of `dependencies` is loaded from
 * node_modules when it is needed. Beside each file is a source map, by which a stack trace names the files of src/.
 */

import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join, posix, relative, resolve, sep } from 'node:path'
import { type OutputChunk, type Plugin, rolldown } from 'rolldown'
import { PAGE_MODULES, writePage } from './web/build-page.ts'

const NEEDED = 24

const root = join(import.meta.dirname, '..')
const src = join(root, 'src')
/** Tests have one of their own. */
const dist = resolve(process.argv[2] ?? join(root, 'dist'))

/** Its types are part of ours, so it is a dependency. Bundled it is one file instead of a hundred. */
const BUNDLED_TOO = ['zod']

const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const external = Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => !BUNDLED_TOO.includes(name))

/** Files of src/ that something else than an import loads: they keep their places in dist. */
const workers = globSync('**/*-worker.ts', { cwd: src }).map((file) => file.replace(/\.ts$/, ''))

/** It is a process of a job, not a thread, and loads most of all there is. */
const BACKUP_WORKER = 'jobs/run/backup-worker'

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

const INPUT = {
  api: pathOf('index'),
  'cli/main': pathOf('cli/main'),
  ...Object.fromEntries(workers.map((file) => [file, pathOf(file)])),
}
const ENTRIES = new Set(Object.values(INPUT))

/** Modules that are loaded together: what these need. A module is in the first part that has it. */
const PARTS: readonly Part[] = [
  { name: 'threads', needs: workers.filter((file) => file !== BACKUP_WORKER) },
  { name: 'start', needs: ['cli/main', 'cli/run-operation'] },
  { name: 'commands', needs: ['operations/quick-manifest'], later: 'cli/program' },
  { name: 'pipelines', needs: ['config/registry', 'operations/backup', 'operations/restore', 'operations/verify'] },
]

interface Part {
  name: string
  needs: readonly string[]
  /** A module that imports others of these later. */
  later?: string
}

/**
 * The part of each module that has one. A part is one file. Else each set of commands that share something has one, and a backup of a
 * small drive needs a third more processor time, for a hundred files. Modules of no part stay as they are cut.
 */
const parts = new Map<string, string>()
const inParts: Plugin = {
  name: 'in-parts',
  buildEnd() {
    for (const { name, needs, later } of PARTS) {
      const found = new Set(needs.map(pathOf))
      if (later !== undefined) add(found, this.getModuleInfo(pathOf(later))?.dynamicallyImportedIds)
      for (const id of found) add(found, this.getModuleInfo(id)?.importedIds)
      for (const id of found) if (!ENTRIES.has(id) && !parts.has(id)) parts.set(id, name)
    }
  },
}

const bundle = await rolldown({
  input: INPUT,
  platform: 'node',
  external: external.map((name) => new RegExp(`^${name}(/|$)`)),
  tsconfig: false,
  plugins: [ownUrls, noPrograms, inParts],
  // As parts ask for it: an entry may have exports for other parts.
  preserveEntrySignatures: 'allow-extension',
})
const { output } = await bundle.write({
  dir: dist,
  format: 'esm',
  sourcemap: true,
  entryFileNames: '[name].js',
  chunkFileNames: 'chunks/[name].js',
  codeSplitting: {
    includeDependenciesRecursively: false,
    groups: PARTS.map(({ name }) => ({ name, test: (id) => parts.get(id) === name })),
  },
})
const chunks = output.filter((file): file is OutputChunk => file.type === 'chunk')
for (const { sourcemapFileName } of chunks) if (sourcemapFileName !== null) shrinkMap(join(dist, sourcemapFileName))
await writePage(join(dist, 'web/page'))
writeLicenses([
  ...chunks.flatMap(({ moduleIds }) => moduleIds),
  ...PAGE_MODULES.map((name) => join(root, 'node_modules', name, '')),
])
writeEntry(chunks.find(({ name }) => name === 'api')!.exports)

function pathOf(file: string): string {
  return join(src, `${file}.ts`)
}

function add(found: Set<string>, ids: readonly string[] = []): void {
  for (const id of ids) found.add(id)
}

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
