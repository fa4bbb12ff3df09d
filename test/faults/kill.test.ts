import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { backup } from '../../src/operations/backup.ts'
import { verify } from '../../src/operations/verify.ts'
import { startCli, vmapipe } from '../cli/cli.ts'
import { sha256 } from '../cli/guest.ts'
import { processesWith, until } from '../storage/archive/processes.ts'
import { writeImage } from '../support/image.ts'
import { seed, seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const MIB = 1 << 20

/** Kills of each series: 200 together. */
const KILLS = 25

/** A run is made to take at least so long, that the moments are not all before it begins: it does 24 MiB. */
const SLOW = ['--bwlimit', '80MiB/s', '--quiet']

interface Series {
  args: string[]
  /** The name that must not be there, or be of a whole file. */
  made: string
  isWhole(path: string): Promise<boolean>
}

const all = tmpDir({ after })
const disk = join(all, 'disk.raw')
writeImage(disk, 24 * MIB + 512, { noise: 8 * MIB, text: 14 * MIB, tail: 512 })
const content = sha256(disk)

const verifies = (from: string) =>
  verify({ from }).then(
    () => true,
    () => false,
  )

function backupSeries(dir: string, compress: string): Series {
  const made = join(dir, 'b.archive')
  const args = ['backup', '-d', `d=${disk}`, '-o', made, '--compress', compress]
  return { args, made, isWhole: verifies }
}

async function restoreSeries(dir: string, compress: string): Promise<Series> {
  const from = join(all, `${compress}.archive`)
  if (!existsSync(from)) await backup({ drives: { d: disk }, to: from, compress })
  const made = join(dir, 'out/disk-d.raw')
  return { args: ['restore', from, join(dir, 'out')], made, isWhole: async (path) => sha256(path) === content }
}

/** To a qcow2 image, which a child of ours writes. */
async function imageSeries(dir: string): Promise<Series> {
  const { args } = await restoreSeries(dir, 'zstd')
  const made = join(dir, 'd.qcow2')
  const isWhole = async (path: string) => {
    const raw = join(all, 'back.raw')
    execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, raw])
    return sha256(raw) === content
  }
  return { args: [args[0], args[1], '-d', `d=qcow2:${made}`], made, isWhole }
}

/** How long a run takes that nobody disturbs, in milliseconds. */
async function lifetime({ args, made }: Series): Promise<number> {
  const start = performance.now()
  const { code, stderr } = await vmapipe([...args, ...SLOW])
  assert.equal(code, 0, stderr)
  rmSync(made)
  return performance.now() - start
}

/** When a run is killed: so many milliseconds after its start, or after it has begun to write. */
interface Moment {
  after: number
  isWriting: boolean
}

/** One run that is killed, and what it has left. True where it was not done before. */
async function kill({ args, made, isWhole }: Series, dir: string, { after, isWriting }: Moment): Promise<boolean> {
  const before = partials(dir)
  const child = startCli([...args, ...SLOW])
  const closed = once(child, 'close')
  child.stderr.resume()
  const hasBegun = () => partials(dir).some((name) => !before.includes(name))
  let ended = false
  void closed.then(() => {
    ended = true
  })
  while (isWriting && !ended && !hasBegun()) await sleep(5)
  await Promise.race([sleep(after), closed])
  child.kill('SIGKILL')
  const [code] = await closed
  await until(() => processesWith(dir).length === 0, 'the end of all children')
  if (existsSync(made)) {
    assert.ok(await isWhole(made), `after ${after} ms there is something under the final name that is not whole`)
    rmSync(made)
  } else assert.equal(code, null, `exit code ${code}, and nothing was made`)
  return code === null
}

const partials = (dir: string) =>
  (readdirSync(dir, { recursive: true }) as string[]).filter((name) => name.includes('.partial'))
/** Kills one after the other, then a run to its end, which clears up. */
async function series(dir: string, what: Series, random: () => number): Promise<{ runs: number; leftovers: number }> {
  let life = await lifetime(what)
  let [runs, kills, leftovers] = [0, 0, 0]
  while (kills < KILLS) {
    const isWriting = runs++ % 2 === 0
    if (await kill(what, dir, { after: random() * life * (isWriting ? 0.3 : 0.9), isWriting })) kills++
    // It was done before: the machine has become faster than it was.
    else life *= 0.85
    assert.ok(runs < 4 * KILLS, `only ${kills} of ${runs} runs were killed in time`)
    leftovers += partials(dir).length > 0 ? 1 : 0
  }
  const { code, stderr } = await vmapipe([...what.args, '--quiet'])
  assert.equal(code, 0, stderr)
  assert.ok(await what.isWhole(what.made))
  assert.deepEqual(partials(dir), [])
  return { runs, leftovers }
}

describe('kill -9 at random moments leaves nothing under a final name and no process, and the next run clears up', {
  concurrency: 2,
}, () => {
  const timeout = 600_000
  const lanes: Record<string, (dir: string) => Series | Promise<Series>> = {
    'backup, none': (dir) => backupSeries(dir, 'none'),
    'backup, zstd': (dir) => backupSeries(dir, 'zstd'),
    'backup, lz4': (dir) => backupSeries(dir, 'lz4'),
    'backup, gzip': (dir) => backupSeries(dir, 'gzip:1'),
    'restore, none': (dir) => restoreSeries(dir, 'none'),
    'restore, zstd': (dir) => restoreSeries(dir, 'zstd'),
    'restore, lz4': (dir) => restoreSeries(dir, 'lz4'),
    'restore to qcow2': imageSeries,
  }
  for (const [index, [name, make]] of Object.entries(lanes).entries()) {
    test(name, { timeout, ...(name.includes('qcow2') ? needs('qemu-nbd', 'qemu-img') : {}) }, async (t) => {
      const dir = tmpDir(t)
      const { runs, leftovers } = await series(dir, await make(dir), seeded(seed + index))
      assert.ok(leftovers > 0, 'none of the kills came in time')
      t.diagnostic(`${KILLS} kills of ${runs} runs, ${leftovers} left something behind, VMAPIPE_SEED=${seed}`)
    })
  }
})
