/** What a result depends on: the machine, the system and the versions of what took part. */

import { execFileSync, spawnSync } from 'node:child_process'
import { availableParallelism, cpus, release, totalmem, type } from 'node:os'

const TOOLS: [name: string, ...argv: string[]][] = [
  ['dd, cp, cat', 'cp', '--version'],
  ['qemu-img', 'qemu-img', '--version'],
  ['zstd', 'zstd', '--version'],
  ['lz4', 'lz4', '--version'],
  ['pigz', 'pigz', '--version'],
  ['vma', 'vma', '--version'],
]

export function machine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor'
  return `${availableParallelism()} × ${model}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory, ${type()} ${release()}`
}

/** "zstd 1.5.4", of everything that is installed. */
export function versions(): string[] {
  const found = TOOLS.map(([name, program, ...args]) => {
    const { stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' })
    const version = error === undefined ? /v?(\d+\.\d+(\.\d+)?)/.exec(`${stdout}${stderr}`)?.[1] : undefined
    return version && `${name} ${version}`
  })
  return [`Node ${process.versions.node}`, ...found.filter((text) => text !== undefined)]
}

/** The commit that was measured, and whether the sources differ from it. */
export function commit(): string {
  const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8', cwd: import.meta.dirname }).trim()
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no', '--', '../src') !== ''
    return `${git('rev-parse', '--short', 'HEAD')}${changed ? ' with changes' : ''}`
  } catch {
    return 'unknown'
  }
}
