/** Writes the first line of a backup's log: what is backed up, from where, and to where. */

import type { Manifest } from '../core/items.ts'
import type { RunOptions } from '../core/pipeline.ts'
import { formatBytes } from '../core/size.ts'
import type { BoundStage } from '../core/stage.ts'
import { uuidText } from '../formats/vma/header.ts'
import { clusterSource } from '../stages/cluster-source.ts'
import { compressor } from '../stages/compressor.ts'
import { sink } from '../stages/sink.ts'
import { tee } from '../stages/tee.ts'

/**
 * Returns a function that writes the line. Call it with the manifest, and with the guest in words, such as
 * "guest web01 (QEMU at /run/vm1.qmp)"; null for drives at rest.
 */
export function announce(
  stages: readonly BoundStage[],
  inform: RunOptions['inform'],
): (manifest: Manifest, guest: string | null) => void {
  const sources = (optionsOf(stages, clusterSource)?.drives ?? {}) as Record<string, unknown>
  const compression = String(optionsOf(stages, compressor)?.method ?? 'none')
  const place = placeOf(stages)
  return (manifest, guest) => {
    const drives = manifest.drives.map(({ name, size }) => ({ name, size, from: sourceOf(sources, name) }))
    const what = drives.map(
      ({ name, size, from }) => `${name} ${formatBytes(size)}${from === null ? '' : ` from ${from}`}`,
    )
    const target = `${place === '-' ? 'standard output' : (place ?? otherTarget(stages))}${compression === 'none' ? '' : ` (${compression})`}`
    inform?.(`backup of ${[guest ?? 'drives at rest', ...what].join(', ')} to ${target}`, {
      backup: { guest, drives, to: place, compression, uuid: uuidText(manifest.uuid) },
    })
  }
}

/** Where the pipeline's sink puts its bytes; null if that is a stream, or if its end is another stage. */
export function placeOf(stages: readonly BoundStage[]): string | null {
  const to = optionsOf(stages.slice(-1), sink)?.to
  return typeof to === 'string' ? to : null
}

/** In words: "a stream", or the last stage with what it says of itself, such as "tee (here, there)". */
function otherTarget(stages: readonly BoundStage[]): string {
  const { definition, options } = stages.at(-1)!
  if (definition.name === sink.definition.name) return 'a stream'
  const medium = definition.medium?.(options as never)
  if (definition.name === tee.definition.name) {
    const { branches } = options as { branches: readonly { name: string }[] }
    return branches.map(({ name }) => name).join(' and ')
  }
  return medium === undefined ? definition.name : `${definition.name} (${medium})`
}

function optionsOf(
  stages: readonly BoundStage[],
  { definition: { name } }: { definition: { name: string } },
): Record<string, unknown> | undefined {
  return stages.find(({ definition }) => definition.name === name)?.options as Record<string, unknown> | undefined
}

function sourceOf(sources: Record<string, unknown>, name: string): string | null {
  const source = Object.hasOwn(sources, name) ? sources[name] : null
  return typeof source === 'string' ? source : null
}
