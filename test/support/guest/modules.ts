/** Kernel modules with what they depend on, in the order in which insmod takes them. */

import { execFileSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'

export interface Module {
  name: string
  data: Buffer
}

/**
 * The modules of `wanted` and their dependencies, each after what it needs; `folder` is a version's folder of modules.
 * What is built into the kernel is left out; a module that is nowhere is an error.
 */
export function loadModules(folder: string, wanted: readonly string[]): Module[] {
  const files = new Map(globSync('kernel/**/*.ko*', { cwd: folder }).map((path) => [nameOf(path), join(folder, path)]))
  const builtIn = new Set(readFileSync(join(folder, 'modules.builtin'), 'utf8').split('\n').map(nameOf))
  const loaded = new Map<string, Module>()
  const load = (name: string) => {
    if (loaded.has(name) || builtIn.has(name)) return
    const file = files.get(name)
    if (file === undefined) throw new Error(`the kernel in ${folder} has no module ${name}`)
    const data = decompress(file)
    for (const needed of dependencies(data)) load(needed)
    loaded.set(name, { name, data })
  }
  for (const name of wanted) load(name)
  return [...loaded.values()]
}

/** A module's name has underscores where its file's may have dashes. */
function nameOf(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_')
}

/** From the `depends=` entry of the section .modinfo, a list of NUL-terminated strings. */
function dependencies(module: Buffer): string[] {
  const names = /\0depends=([^\0]*)\0/.exec(module.toString('latin1'))?.[1] ?? ''
  return names.split(',').filter(Boolean)
}

function decompress(file: string): Buffer {
  if (file.endsWith('.xz')) return execFileSync('xz', ['-dc', file], { maxBuffer: 64 * 2 ** 20 })
  if (file.endsWith('.zst')) return zstdDecompressSync(readFileSync(file))
  return readFileSync(file)
}
