/** Draws a pipeline as text: its stages with the options that were given, what flows between them, and the branches of a tee. */

import { printable } from '../core/errors.ts'
import type { Kind } from '../core/items.ts'
import { type BoundStage, z } from '../core/stage.ts'

/** Characters of an option's value that are shown. */
const LONGEST_VALUE = 60

export function drawPipeline(stages: readonly BoundStage[]): string[] {
  return drawStages(stages, 'nothing')
}

/** `flowing` is what the first stage takes. */
function drawStages(stages: readonly BoundStage[], flowing: Kind): string[] {
  const lines: string[] = []
  let kind = flowing
  for (const stage of stages) {
    if (kind !== 'nothing') lines.push(`  │ ${kind}`)
    lines.push(drawStage(stage), ...drawBranches(stage, kind))
    const { output } = stage.definition
    if (output !== 'same') kind = output
  }
  return lines
}

function drawStage(stage: BoundStage): string {
  const { name } = stage.definition
  const lists = listsOf(stage).map(([option]) => option)
  const options = Object.entries((stage.options ?? {}) as Record<string, unknown>)
  const shown = options.flatMap(([option, value]) => {
    const text = valueText(value)
    const isLeftOut = text === null || lists.includes(option) || text === valueText(defaultOf(stage, option))
    return isLeftOut ? [] : [`${option}: ${text}`]
  })
  return shown.length === 0 ? name : `${name}  ${shown.join(', ')}`
}

/** The value that the option has if it is left out. */
function defaultOf({ definition }: BoundStage, option: string): unknown {
  const { shape } = definition.options as Partial<z.ZodObject>
  return shape?.[option] === undefined ? undefined : z.safeParse(shape[option], undefined).data
}

interface BranchOptions {
  name?: string
  required?: boolean
  stages: readonly BoundStage[]
}

function drawBranches(stage: BoundStage, kind: Kind): string[] {
  const branches = listsOf(stage).map((path) => path.slice(0, -1).reduce(member, stage.options) as BranchOptions)
  return branches.flatMap(({ name, required, stages }, index) => {
    const isLast = index === branches.length - 1
    const title = `${printable(name ?? String(index + 1))}${required === false ? ' (not required)' : ''}`
    return [
      `  ${isLast ? '└' : '├'}─ ${title}`,
      ...drawStages(stages, kind).map((line) => `  ${isLast ? ' ' : '│'}    ${line}`),
    ]
  })
}

function listsOf({ definition, options }: BoundStage): readonly (readonly (string | number)[])[] {
  return definition.stageLists?.(options) ?? []
}

function member(value: unknown, key: string | number): unknown {
  return (value as Record<string | number, unknown>)[key]
}

/** Null for what cannot be shown in a few words, such as a stream or a function. */
function valueText(value: unknown): string | null {
  const isPlain = value === null || ['string', 'number', 'boolean'].includes(typeof value)
  const isContainer = Array.isArray(value) || (value as object)?.constructor === Object
  if (!isPlain && !isContainer) return null
  const text = printable(typeof value === 'string' ? value : JSON.stringify(value))
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text
}
