/** `npm run fuzz -- [--minutes N]`: the properties of this folder again and again, each round with another seed, until the time is over or one fails. */

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } })
const minutes = Number(values.minutes)
if (!(minutes > 0)) throw new Error('--minutes wants a number')

/** A property goes on for so long in one round. */
const SECONDS = 15

const files = readdirSync(import.meta.dirname)
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => join(import.meta.dirname, name))
const end = Date.now() + minutes * 60_000
for (let round = 1; Date.now() < end; round++) {
  const seed = String(process.env.VMAPIPE_SEED ?? Math.floor(Math.random() * 2 ** 31))
  console.log(`round ${round}: VMAPIPE_SEED=${seed}`)
  const env = { ...process.env, VMAPIPE_SEED: seed, VMAPIPE_FUZZ_SECONDS: String(SECONDS) }
  const { status } = spawnSync(process.execPath, ['--test', ...files], { env, stdio: 'inherit' })
  if (status !== 0) process.exit(1)
}
