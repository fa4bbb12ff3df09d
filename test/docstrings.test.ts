/** Every export of the library has a docstring, what can be called has an example in it, and the examples compile. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { tmpDir } from './support/tmp.ts'

const ROOT = join(import.meta.dirname, '..')
const INDEX = join(ROOT, 'src/index.ts')

interface Exported {
  name: string
  kind: 'const' | 'function' | 'class' | 'interface' | 'type'
  /** The docstring, without its comment signs. */
  doc: string
  file: string
  /** The code from the declaration on. */
  code: string
}

const DECLARED = 'export (?:abstract )?(?:async )?(const|function|class|interface|type)'

/** The declaration of an export, also if the file has it from another one. */
function declaration(name: string, file: string): Exported {
  const text = readFileSync(file, 'utf8')
  const found = new RegExp(`((?:/\\*\\*(?:(?!\\*/)[^])*\\*/\\n)?)^${DECLARED} ${name}\\b`, 'm').exec(text)
  if (found !== null) {
    const doc = found[1].replace(/^\/\*\*\n?|\s*\*\/\n$/g, '').replaceAll(/^ ?\* ?/gm, '')
    return { name, kind: found[2] as Exported['kind'], doc, file, code: text.slice(found.index + found[1].length) }
  }
  for (const { names, from } of reExports(file)) if (names.includes(name)) return declaration(name, from)
  throw new Error(`${file} does not declare ${name}`)
}

function reExports(file: string): { names: string[]; from: string }[] {
  const text = readFileSync(file, 'utf8')
  return [...text.matchAll(/export (?:type )?\{([^}]*)\} from '(\.[^']*)'/g)].map(([, list, from]) => ({
    names: list.split(',').flatMap((part) => part.trim().replace(/^type /, '') || []),
    from: join(dirname(file), from),
  }))
}

const exported = reExports(INDEX)
  .flatMap(({ names, from }) => names.map((name) => ({ name, from })))
  // zod's own.
  .filter(({ name }) => name !== 'z')
  .map(({ name, from }) => declaration(name, from))

/** The code in a docstring: what is indented by four spaces. */
function exampleIn(doc: string): string {
  const lines = doc.split('\n')
  const first = lines.findIndex((line) => line.startsWith('    '))
  if (first < 0) return ''
  return lines
    .slice(first)
    .map((line) => line.replace(/^ {4}/, ''))
    .join('\n')
}

test('every export has a docstring', () => {
  const without = exported.filter(({ doc }) => doc.trim() === '').map(({ name }) => name)
  assert.deepEqual(without, [])
})

test('every export that is more than a type has an example', async () => {
  const values = Object.keys(await import('../src/index.ts'))
  const without = exported
    .filter(({ name }) => values.includes(name))
    .filter(({ doc }) => exampleIn(doc) === '')
    .map(({ name }) => name)
  assert.deepEqual(without, [])
})

test('every option has a docstring', () => {
  const without: string[] = []
  for (const { name, kind, code } of exported) {
    if (kind !== 'interface' || !name.endsWith('Options')) continue
    const [body] = code.split('\n}')
    let isTold = false
    for (const line of body.split('\n').slice(1)) {
      if (/^ {2}(\/\*\*| \*)/.test(line)) isTold = true
      else if (/^ {2}\w+\??:/.test(line)) {
        if (!isTold) without.push(`${name}: ${line.trim()}`)
        isTold = false
      }
    }
  }
  assert.deepEqual(without, [])
})

test('the examples compile', { timeout: 120_000 }, (t) => {
  const dir = tmpDir(t)
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'))
  mkdirSync(join(dir, 'examples'))
  for (const [index, { name, doc }] of exported.entries()) {
    const example = exampleIn(doc)
    if (example === '') continue
    // An example uses names of the library without a word about the import.
    const used = [...exported.map((one) => one.name), 'z'].filter((one) => {
      const isDeclared = new RegExp(`(?:const|let|function|import \\{[^}]*)\\s+(?:\\{[^}]*)?\\b${one}\\b`).test(example)
      return new RegExp(`\\b${one}\\b`).test(example.replaceAll(/'[^']*'/g, "''")) && !isDeclared
    })
    const code = `import { ${used.join(', ')} } from 'vmapipe'\n\n${example}\n\nexport {}\n`
    // Some names differ in case alone: Census, census.
    writeFileSync(join(dir, 'examples', `${index}-${name}.ts`), code)
  }
  writeFileSync(
    join(dir, 'examples', 'mistaken.ts'),
    "import { verify } from 'vmapipe'\n\nawait verify({ form: 'vm.vma' })\n",
  )
  const compilerOptions = {
    ...{ target: 'es2024', lib: ['es2024'], module: 'nodenext', types: ['node'], strict: true, noEmit: true },
    ...{ noUncheckedIndexedAccess: true, skipLibCheck: true, allowImportingTsExtensions: true },
    paths: { vmapipe: [INDEX] },
  }
  writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['examples'] }))
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  const { stdout } = spawnSync('npx', ['tsc', '-p', join(dir, 'tsconfig.json')], { cwd: ROOT, encoding: 'utf8' })
  // The library itself is compiled elsewhere, by its own rules.
  const wrong = stdout.split('\n').filter((line) => line.includes('examples/'))
  assert.equal(wrong.length, 1, wrong.join('\n'))
  assert.match(wrong[0], /mistaken\.ts.*'form'/)
})
