/**
 * npm run bench -- [check] [--only TOPIC]... [--runs N] [--quick] [--minutes N] [--folder PATH]
 *
 * Measures all topics, or some, and writes RESULTS.md and results.json. A full run wants 16 GiB of memory. `--quick` takes small
 * images and three minutes: it leaves out what guests do, begins no other topic after two and a half minutes, and writes nothing.
 * `check` measures again what results.json has, writes nothing, and fails if a number got worse by more than 15 %: run it by hand on a
 * quiet machine before a change that could be slower is published.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Compared, compare, keepResults, keptResults } from './kept.ts'
import { commit, machine, versions } from './machine.ts'
import { installPackage } from './program.ts'
import { forgetRealFiles } from './real-files.ts'
import { type Circumstances, render, renderSection } from './report.ts'
import { type RunTopic, type Section, useLauncher } from './topic.ts'
import { LONG, SLOW, TOPICS } from './topics.ts'

const RESULTS = join(import.meta.dirname, 'RESULTS.md')
const ROOM = 16 * 2 ** 30
/** Seconds after which --quick begins no other topic: with the last one it is to take three minutes. */
const QUICK_SECONDS = 150

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', multiple: true },
    runs: { type: 'string', default: '5' },
    quick: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '20' },
    folder: { type: 'string', default: '/dev/shm' },
  },
})
const { quick } = values
const checks = positionals[0] === 'check'
const runs = quick ? 1 : Number(values.runs)
const usual = checks ? Object.keys(keptResults()) : Object.keys(TOPICS)
const chosen = values.only ?? usual.filter((topic) => !LONG.includes(topic) && !(quick && SLOW.includes(topic)))

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))
refuse()
const shared = temporary()
useLauncher(installPackage(shared))
const compared: Compared[] = []
for (const [index, topic] of chosen.entries()) {
  if (quick && values.only === undefined && performance.now() > QUICK_SECONDS * 1000) {
    console.error(`left out, as ${QUICK_SECONDS} s have passed: ${chosen.slice(index).join(', ')}`)
    break
  }
  console.error(`${topic}:`)
  const { run } = await TOPICS[topic]()
  const result = await measured(run).catch(lacking)
  if (result === null) continue
  const { section, circumstances } = result
  const text = renderSection(section, circumstances)
  if (checks) compared.push(...compare(section.goals, keptResults()[topic]?.values ?? {}))
  else if (quick) console.log(text)
  else {
    keep(topic, text)
    keepResults(topic, section.goals, circumstances)
  }
}
if (checks) judge()

/** A quick run does without a topic whose programs are not installed, and says so. */
function lacking(error: Error): null {
  if (!quick || values.only !== undefined || !error.message.endsWith('is needed, and not installed')) throw error
  console.error(`  left out: ${error.message}`)
  return null
}

function keep(topic: string, text: string): void {
  const before = existsSync(RESULTS) ? readFileSync(RESULTS, 'utf8') : ''
  writeFileSync(RESULTS, render(new Map([[topic, text]]), Object.keys(TOPICS), before))
}

function judge(): void {
  for (const { job, kept, now, worse } of compared)
    console.log(`${worse ? 'WORSE' : 'fine '}  ${kept.toFixed(2)} then, ${now.toFixed(2)} now  ${job}`)
  if (compared.length === 0) fail('nothing to compare with in results.json')
  if (compared.some(({ worse }) => worse)) process.exitCode = 1
}

function refuse(): void {
  if (positionals.length > (checks ? 1 : 0)) fail(`${positionals[0]} is no word that is known here: check is`)
  const unknown = chosen.filter((topic) => !(topic in TOPICS))
  if (unknown.length > 0) fail(`no topic ${unknown.join(', ')}; there are ${Object.keys(TOPICS).join(', ')}`)
  if (!(Number.isInteger(runs) && runs >= 1)) fail(`--runs ${values.runs} is no number of runs`)
  if (!(Number(values.minutes) > 0)) fail(`--minutes ${values.minutes} is no time`)
  if (!existsSync('/usr/bin/time')) fail('GNU time is needed, as /usr/bin/time')
  if (!quick && room() < ROOM) fail(`${values.folder} has no room for ${ROOM / 2 ** 30} GiB; choose another --folder`)
}

async function measured(run: RunTopic): Promise<{ section: Section; circumstances: Circumstances }> {
  if (room() < ROOM) forgetRealFiles()
  const folder = temporary()
  const before = loadavg()[0]
  try {
    const section = await run({ runs, quick, folder, shared, minutes: Number(values.minutes) })
    const load = `${before.toFixed(1)}, ${loadavg()[0].toFixed(1)}`
    const date = new Date().toISOString().slice(0, 10)
    return { section, circumstances: { machine: machine(), versions: versions(), commit: commit(), date, runs, load } }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** A folder that is gone when we end. */
function temporary(): string {
  const folder = mkdtempSync(join(values.folder, 'vmapipe-bench-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Free bytes of the folder, which may be all of the machine's memory. */
function room(): number {
  const { bavail, bsize } = statfsSync(values.folder)
  return bavail * bsize
}

function fail(message: string): never {
  console.error(`bench: ${message}`)
  process.exit(2)
}
