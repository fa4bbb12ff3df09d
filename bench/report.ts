/** RESULTS.md: written anew by every run, but for the sections of topics that were not run. */

import type { Goal, Section, Table } from './topic.ts'

export interface Circumstances {
  machine: string
  versions: string[]
  commit: string
  date: string
  runs: number
  /** Processes that wanted a processor when the topic began and ended: "0.1, 0.3". */
  load: string
}

const HEAD = `# Results

Written by \`npm run bench\`; do not edit. \`results.json\` beside it has the ratios for \`npm run bench -- check\`.
`

const HOW = `## How it was measured

Machines with two processors, not all of them alike, and with other work on them at times: each section ends with its own. Believe
ratios before seconds, and neither further than their spread. A ratio is not the same on all of them either: memory that costs more to
copy, or a system call that takes longer, weighs differently for two programs. In December 2026 (commit 68f2382) a backup to .vma.zst took 1.14
times as long as zstd on a busy Intel machine, and a restore of .vma 1.97 times as long as cp; on a quiet AMD EPYC these were 0.97 and 1.33.
All is in memory (tmpfs, or a filesystem's cache), so a disk's or a network's speed, which usually decides, is left out on purpose; so is
the cost of making files durable, which is nothing there. Commands are measured as whole processes from start to exit. They run in turn,
round after round (every other one backwards, since December 2026), after a round that does not count; a ratio is the median of the ratios
of neighbouring runs. Peak memory is that of the largest process, not of the files in memory. What a section does not say of its image is
made up: real disks compress better or worse.
`

/** The file's text out of new sections, and of the others as they stood in `before`. */
export function render(sections: ReadonlyMap<string, string>, order: readonly string[], before: string): string {
  const kept = earlierSections(before)
  const all = order.map((topic) => [topic, sections.get(topic) ?? kept.get(topic)] as const)
  const marked = all
    .filter(([, text]) => text !== undefined)
    .map(([topic, text]) => `${begin(topic)}\n${text}${end(topic)}\n`)
  const texts = new Map(all.filter((entry): entry is [string, string] => entry[1] !== undefined))
  return [HEAD, conclusions(texts), HOW, ...marked].join('\n')
}

/** What a reader can conclude, on one page: how many goals each section meets, and which ones it does not. */
export function conclusions(sections: ReadonlyMap<string, string>): string {
  const all = [...sections.values()].map((text) => ({ title: titleOf(text), goals: goalsOf(text) }))
  const withGoals = all.filter(({ goals }) => goals.length > 0)
  const rows = withGoals.map(({ title, goals }) => {
    const missed = goals.filter(({ outcome }) => outcome !== 'met')
    const texts = missed.map(({ job, goal, measured }) => `${job}: ${measured.replace(SPREAD, '')} (goal: ${goal})`)
    return [`[${title}](#${anchorOf(title)})`, `${goals.length - missed.length} of ${goals.length}`, texts.join('; ')]
  })
  if (rows.length === 0) return ''
  const goals = withGoals.flatMap((section) => section.goals)
  const met = goals.filter(({ outcome }) => outcome === 'met').length
  const about =
    `${met} of ${goals.length} goals are met. A time of 0.80 means: a fifth less than the other program needs. Each section begins with ` +
    'all of its goals. Most say what bounds those that are missed.'
  return `## What can be concluded\n\n${about}\n\n${renderTable({ head: ['what was measured', 'goals met', 'goals missed'], rows })}`
}

/** Behind a ratio: the least and the greatest. */
const SPREAD = / \([\d.]+–[\d.]+\)$/

const titleOf = (section: string) => /^## (.+)$/m.exec(section)?.[1] ?? ''

/** As renderers of Markdown name the place of a title. */
const anchorOf = (title: string) =>
  title
    .toLowerCase()
    .replaceAll(/[^\w -]/g, '')
    .replaceAll(' ', '-')

/** Of a section's table of goals. */
function goalsOf(section: string) {
  const [, body] = /^\| job \| goal \| measured \| {2}\|\n\|[- |:]+\|\n((?:\|.*\|\n)+)/m.exec(section) ?? [
    undefined,
    '',
  ]
  const lines = body.split('\n').filter((line) => line !== '')
  return lines.map((line) => {
    const [job, goal, measured, outcome] = line.slice(2, -2).split(' | ')
    return { job, goal, measured, outcome }
  })
}

const begin = (topic: string) => `<!-- ${topic} -->`
const end = (topic: string) => `<!-- end of ${topic} -->`

function earlierSections(text: string): Map<string, string> {
  const sections = text.matchAll(/^<!-- (\S+) -->\n(.*?)^<!-- end of \1 -->$/gms)
  return new Map([...sections].map(([, topic, content]) => [topic, content]))
}

export function renderSection({ title, intro, tables, goals }: Section, circumstances: Circumstances): string {
  const { machine, versions, commit, date, runs, load } = circumstances
  const where = `${date}, commit ${commit}, ${runs} runs. ${machine}. ${versions.join(', ')}. Load before and after: ${load}.`
  const missed = goals.filter(({ met, why }) => !met && why !== undefined)
  return [
    `## ${title}\n`,
    ...intro.map((text) => `${text}\n`),
    ...(goals.length > 0 ? [renderTable(goalsTable(goals))] : []),
    ...missed.map(({ job, why }) => `Missed, ${job}: ${why}\n`),
    ...tables.map(renderTable),
    `${where}\n`,
  ].join('\n')
}

function goalsTable(goals: readonly Goal[]): Table {
  return {
    head: ['job', 'goal', 'measured', ''],
    rows: goals.map(({ job, goal, measured, met }) => [job, goal, measured, met ? 'met' : '**missed**']),
  }
}

function renderTable({ head, rows }: Table): string {
  const isNumber = (text: string) => /^[\d.,–% -]*$/.test(text)
  const align = head.map((_, column) => (rows.every((row) => isNumber(row[column])) ? '---:' : '---'))
  const lines = [head, align, ...rows].map((cells) => `| ${cells.map(cellText).join(' | ')} |`)
  return `${lines.join('\n')}\n`
}

/** A pipe within a cell must not end it. Cells of a section that was written before have theirs escaped already. */
const cellText = (text: string) => text.replaceAll(/(?<!\\)\|/g, '\\|')
