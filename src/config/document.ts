/** Parses the text of a config file to plain values with their lines and columns. It is YAML 1.2, which includes JSON. */

import { isMap, isNode, isPair, isScalar, LineCounter, parseDocument } from 'yaml'
import { VmapipeError } from '../core/errors.ts'
import type { Path } from '../core/problems.ts'

export interface ConfigDocument {
  readonly file: string
  readonly value: unknown
  /** The place "12:5" of the value at `path`, or of its nearest parent; with `key`, of that key in the map at `path`. */
  position(path: Path, key?: string): string
}

/** Limits aliases, by which a small file could make a very large value. */
const MAX_ALIASES = 100

/** Parses a config. Throws CONFIG with line and column if the text is not YAML. */
export function parseConfig(file: string, text: string): ConfigDocument {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${line}:${col}`
  }
  const [error] = document.errors
  if (error !== undefined) {
    throw new VmapipeError('CONFIG', `${file}:${at(error.pos[0])}: ${error.message}`, { cause: error })
  }
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: MAX_ALIASES })
  } catch (error) {
    throw new VmapipeError('CONFIG', `${file}: ${(error as Error).message}`, { cause: error })
  }
  const start = (node: unknown) => (isNode(node) && node.range ? at(node.range[0]) : undefined)
  return {
    file,
    value,
    position(path, key) {
      const map = document.getIn(path, true)
      const pair = isMap(map) ? map.items.find(({ key: k }) => isScalar(k) && k.value === key) : undefined
      if (key !== undefined && isPair(pair)) return start(pair.key) ?? '1:1'
      for (let length = path.length; length >= 0; length--) {
        const found = start(document.getIn(path.slice(0, length), true))
        if (found !== undefined) return found
      }
      return '1:1'
    },
  }
}

/** "stages[2].compressor.level" */
export function pathText(path: Path): string {
  const text = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`)).join('')
  return text.replace(/^\./, '')
}
