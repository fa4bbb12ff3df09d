/**
 * npm run bench -- [--only TOPIC]... [--runs N] [--quick] [--minutes N] [--folder PATH]
 *
 * Measures all topics, or some, and writes RESULTS.md. The full run wants 10 GiB of memory and takes about a quarter of an
 * hour; --quick takes small images and writes nothing.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { commit, machine, versions } from './machine.ts'
import { render, renderSection } from './report.ts'
import type { RunTopic } from './topic.ts'
import { LONG, TOPICS } from './topics.ts'

const RESULTS = join(import.meta.dirname, 'RESULTS.md')
const ROOM = 10 * 2 ** 30

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    runs: { type: 'string', default: '5' },
    quick: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '20' },
    folder: { type: 'string', default: '/dev/shm' },
  },
})
const { quick } = values
const runs = quick ? 1 : Number(values.runs)
const chosen = values.only ?? Object.keys(TOPICS).filter((topic) => !LONG.includes(topic))

check()
for (const topic of chosen) {
  console.error(`${topic}:`)
  const text = await section(await TOPICS[topic]())
  if (quick) console.log(text)
  else keep(topic, text)
}

function keep(topic: string, text: string): void {
  const before = existsSync(RESULTS) ? readFileSync(RESULTS, 'utf8') : ''
  writeFileSync(RESULTS, render(new Map([[topic, text]]), Object.keys(TOPICS), before))
}

function check(): void {
  const unknown = chosen.filter((topic) => !(topic in TOPICS))
  if (unknown.length > 0) fail(`no topic ${unknown.join(', ')}; there are ${Object.keys(TOPICS).join(', ')}`)
  if (!(Number.isInteger(runs) && runs >= 1)) fail(`--runs ${values.runs} is no number of runs`)
  if (!(Number(values.minutes) > 0)) fail(`--minutes ${values.minutes} is no time`)
  if (!existsSync('/usr/bin/time')) fail('GNU time is needed, as /usr/bin/time')
  const { bavail, bsize } = statfsSync(values.folder)
  if (!quick && bavail * bsize < ROOM)
    fail(`${values.folder} has no room for ${ROOM / 2 ** 30} GiB; choose another --folder`)
}

async function section({ run }: { run: RunTopic }): Promise<string> {
  const folder = mkdtempSync(join(values.folder, 'vmapipe-bench-'))
  const clear = () => rmSync(folder, { recursive: true, force: true })
  const interrupted = () => process.exit(130)
  process.on('exit', clear).on('SIGINT', interrupted).on('SIGTERM', interrupted)
  const before = loadavg()[0]
  try {
    const result = await run({ runs, quick, folder, minutes: Number(values.minutes) })
    const load = `${before.toFixed(1)}, ${loadavg()[0].toFixed(1)}`
    const date = new Date().toISOString().slice(0, 10)
    return renderSection(result, { machine: machine(), versions: versions(), commit: commit(), date, runs, load })
  } finally {
    clear()
    process.off('exit', clear).off('SIGINT', interrupted).off('SIGTERM', interrupted)
  }
}

function fail(message: string): never {
  console.error(`bench: ${message}`)
  process.exit(2)
}
