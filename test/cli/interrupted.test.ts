import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { processesWith, until } from '../storage/archive/processes.ts'
import { writeImage } from '../support/image.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, needs } from '../support/tools.ts'
import { oneLine, startCli, vmapipe } from './cli.ts'

const timeout = 120_000
const MIB = 1 << 20

/** So slow that it can be interrupted in its middle. */
const SLOW = ['--bwlimit', '1MiB/s', '--quiet']

interface Job {
  /** The command line, but for what makes it slow. */
  args: string[]
  /** What it makes, and must not leave half-made. */
  made: string
  folder: string
}

/** Jobs that are in the middle when a temporary file is there. */
const JOBS: Record<string, (dir: string, disk: string, archive: string) => Job> = {
  'a backup': (dir, disk) => {
    const to = join(dir, 'b.vma.zst')
    return { args: ['backup', '-d', `d=${disk}`, '-o', to], made: 'b.vma.zst', folder: dir }
  },
  'a restore into a folder': (dir, _disk, archive) => {
    return { args: ['restore', archive, join(dir, 'out')], made: 'disk-d.raw', folder: join(dir, 'out') }
  },
  'a restore to a file': (dir, _disk, archive) => {
    return { args: ['restore', archive, '-d', `d=${join(dir, 'd.raw')}`], made: 'd.raw', folder: dir }
  },
  'a restore to a qcow2 image': (dir, _disk, archive) => {
    return { args: ['restore', archive, '-d', `d=qcow2:${join(dir, 'd.qcow2')}`], made: 'd.qcow2', folder: dir }
  },
}

async function guest(t: Parameters<typeof tmpDir>[0]): Promise<{ dir: string; disk: string; archive: string }> {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk.raw')
  const archive = join(dir, 'a.vma')
  writeImage(disk, 8 * MIB, { noise: 8 * MIB })
  await backup({ drives: { d: disk }, to: archive })
  return { dir, disk, archive }
}

const files = (folder: string) => readdirSync(folder, { recursive: true }).sort() as string[]

function isUnderWay({ folder }: Job): () => boolean {
  return () => {
    try {
      return readdirSync(folder).some((name) => name.endsWith('.partial'))
    } catch {
      return false
    }
  }
}

for (const [what, job] of Object.entries(JOBS)) {
  const options = { timeout, ...(what.includes('qcow2') ? needs('qemu-nbd', 'qemu-img') : {}) }
  describe(what, options, () => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      test(`ends with 130 and one line on ${signal}, and leaves nothing`, async (t) => {
        const { dir, disk, archive } = await guest(t)
        const before = files(dir)
        const running = job(dir, disk, archive)
        const child = startCli([...running.args, ...SLOW])
        let stderr = ''
        child.stderr.on('data', (data) => {
          stderr += data
        })
        const closed = once(child, 'close')
        await until(isUnderWay(running), 'a temporary file')
        child.kill(signal)
        assert.deepEqual(await closed, [130, null], stderr)
        assert.match(stderr, /^vmapipe: (interrupted|ended by SIG\w+)\n$/)
        assert.deepEqual(files(dir), before)
        assert.deepEqual(processesWith(dir), [])
      })
    }

    test('leaves nothing under a final name and no child on kill -9; the next run cleans up', async (t) => {
      const { dir, disk, archive } = await guest(t)
      const running = job(dir, disk, archive)
      const child = startCli([...running.args, ...SLOW])
      const closed = once(child, 'close')
      await until(isUnderWay(running), 'a temporary file')
      child.kill('SIGKILL')
      await closed
      await until(() => processesWith(dir).length === 0, 'the end of all children')
      assert.ok(!readdirSync(running.folder).includes(running.made))
      const next = await vmapipe(running.args)
      assert.equal(next.code, 0, next.stderr)
      assert.match(next.stderr, /^WARNING: .*removed '.*\.partial', left by a run that was killed$/m)
      assert.ok(readdirSync(running.folder).includes(running.made))
      assert.ok(!files(dir).some((name) => name.includes('.partial')))
    })
  })
}

describe('a full disk', { timeout, ...needs('mount') }, () => {
  for (const [what, job] of Object.entries(JOBS)) {
    test(`is one line and exit code 1 to ${what}, which leaves nothing`, needs('qemu-nbd'), async (t) => {
      const { dir, disk, archive } = await guest(t)
      const small = join(dir, 'small')
      mkdirSync(small)
      if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', small]).status !== 0) {
        return lacking(t, 'needs the right to mount a tmpfs')
      }
      try {
        const outcome = await vmapipe([...job(small, disk, archive).args, '--quiet'])
        assert.equal(outcome.code, 1, outcome.stderr)
        assert.match(oneLine(outcome), /no space left/i)
        assert.deepEqual(files(small), [])
      } finally {
        execFileSync('umount', ['-l', small])
      }
    })
  }
})
