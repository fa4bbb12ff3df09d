/** Makes the table of all stages in pipelines/README.md from the registry: npm run schema. */

import type { Registry } from './schema.ts'

const BEGIN = '<!-- stages: npm run schema writes this table -->'
const END = '<!-- end of stages -->'

/** The page with the table of these stages between its two marks. */
export function withStageTable(page: string, registry: Registry): string {
  const begin = page.indexOf(BEGIN)
  const end = page.indexOf(END)
  if (begin < 0 || end < begin) throw new Error(`the page has no place for the stages between '${BEGIN}' and '${END}'`)
  return `${page.slice(0, begin + BEGIN.length)}\n${stageTable(registry)}${page.slice(end)}`
}

function stageTable(registry: Registry): string {
  const rows = [...registry.values()].map(({ definition: { name, input, output, summary } }) => {
    return `| \`${name}\` | ${input} | ${output} | ${summary.replaceAll('|', '\\|')} |\n`
  })
  return `| stage | takes | gives | |\n|---|---|---|---|\n${rows.join('')}`
}
