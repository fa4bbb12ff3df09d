import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { describe, test } from 'node:test'
import { encodeWord, readCommand, writeCommand } from '../../../src/storage/archive/remote-script.ts'
import { isLockedBySomebody } from '../../../src/storage/guard/lock-holders.ts'
import { lockFile } from '../../../src/storage/partial-lock.ts'
import { partialName, SHARED, UNLOCKED } from '../../../src/storage/partial-name.ts'
import { qemuNbd } from '../../support/nbd-server.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { until } from './processes.ts'

const NONCE = '0123456789abcdef0123456789abcdef'

const APPLETS = 'cat cksum dd find flock grep ln ls mv printf rm stat sync tail tr wc'.split(' ')
const applets = spawnSync('busybox', ['--list'], { encoding: 'utf8' }).stdout?.split('\n') ?? []
const hasApplet = (name: string) => applets.includes(name)

/** As sshd would: the login shell gets the line. With busybox, all programs that it calls are busybox's too. */
function run(shell: readonly string[], dir: string, line: string, input: Buffer) {
  let path = process.env.PATH
  if (shell[0] === 'busybox') {
    path = join(dir, '..', 'applets')
    mkdirSync(path, { recursive: true })
    const busybox = spawnSync('which', ['busybox'], { encoding: 'utf8' }).stdout.trim()
    for (const name of ['busybox', 'sh', ...APPLETS.filter(hasApplet)]) {
      try {
        symlinkSync(busybox, join(path, name))
      } catch {}
    }
  }
  const { stdout, stderr, status } = spawnSync(shell[0], [...shell.slice(1), '-c', line], {
    cwd: dir,
    input,
    env: { ...process.env, PATH: path },
  })
  return { answers: stdout.toString('latin1'), stdout, stderr: stderr.toString(), status }
}

function words(name: string, force = false): string {
  return [NONCE, `./${name}`, './.t.partial', './.u.partial', name, force ? '1' : '0']
    .map((word) => encodeWord(Buffer.from(word, 'latin1')))
    .join('')
}

/** An empty file as a run would leave it; its name, a character for each byte. */
function left(dir: string, name: string, place: string): string {
  const partial = partialName(Buffer.from(name, 'latin1'), place)
  writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), partial]), '')
  return partial.toString('latin1')
}

const shells: Record<string, string[]> = { sh: ['sh'], bash: ['bash'], busybox: ['busybox', 'sh'] }

for (const [name, shell] of Object.entries(shells)) {
  describe(`the remote script under ${name}`, { ...needs(shell[0]), timeout: 180_000 }, () => {
    const write = (dir: string, file: string, body: Buffer | string, force = false) =>
      run(shell, dir, writeCommand, Buffer.concat([Buffer.from(words(file, force)), Buffer.from(body)]))

    test('publishes what ends with the nonce, without the nonce, for its owner alone', (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      const data = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251))
      const { answers, status } = write(dir, 'vm.vma', Buffer.concat([data, Buffer.from(NONCE)]))
      assert.deepEqual({ answers, status }, { answers: `${NONCE} ready\n${NONCE} done\n`, status: 0 })
      assert.deepEqual(readdirSync(dir), ['vm.vma'])
      assert.ok(readFileSync(join(dir, 'vm.vma')).equals(data))
      assert.equal(statSync(join(dir, 'vm.vma')).mode & 0o777, 0o600)
    })

    test('makes no file among devices, and replaces nothing that is no file', (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      const typo = `vmapipe-test-${process.pid}`
      for (const name of [
        `${relative(realpathSync(dir), '/dev')}/${typo}`,
        `${relative(realpathSync(dir), '/dev')}/null`,
      ]) {
        assert.equal(write(dir, name, `archive${NONCE}`, true).answers, `${NONCE} device\n`)
      }
      assert.equal(existsSync(`/dev/${typo}`), false)
      spawnSync('mkfifo', [join(dir, 'fifo')])
      assert.equal(write(dir, 'fifo', `archive${NONCE}`, true).answers, `${NONCE} notfile\n`)
      assert.deepEqual(readdirSync(dir), ['fifo'])
    })

    test('replaces no image that a guest has open, by any of its names', needs('qemu-nbd'), async (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      const path = join(dir, 'disk')
      writeFileSync(path, 'old '.repeat(1024))
      symlinkSync('disk', join(dir, 'link'))
      await qemuNbd(t, join(dir, 'socket'), ['-f', 'raw', path])
      await until(() => isLockedBySomebody(statSync(path), [203]), 'it has its locks')
      for (const name of ['disk', 'link']) {
        assert.equal(write(dir, name, `archive${NONCE}`, true).answers, `${NONCE} used\n`)
      }
      assert.equal(readFileSync(path, 'latin1').slice(0, 4), 'old ')
    })

    test('publishes an empty archive too', (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      assert.equal(write(dir, 'vm.vma', NONCE).status, 0)
      assert.equal(statSync(join(dir, 'vm.vma')).size, 0)
    })

    for (const end of ['', 'short', NONCE.slice(1), `${NONCE}\0`, `${NONCE}\n`, `\0${NONCE.slice(0, 31)}\0`]) {
      test(`publishes nothing when the end is ${JSON.stringify(end)}`, (t) => {
        const dir = join(tmpDir(t), 'd')
        mkdirSync(dir)
        const { answers, status } = write(dir, 'vm.vma', `archive${end}`)
        assert.deepEqual({ answers, status }, { answers: `${NONCE} ready\n${NONCE} cut\n`, status: 3 })
        assert.deepEqual(readdirSync(dir), [])
      })
    }

    test('takes names of any bytes', (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      const names = [
        ' a  b ',
        "it's",
        '"$HOME"',
        '$(date)',
        'back\\slash\\n',
        'new\nline\n',
        '*',
        '-rf',
        '%s%b',
        '\xff\xfe!`',
      ]
      for (const file of names) assert.equal(write(dir, file, `archive${NONCE}`).status, 0, JSON.stringify(file))
      const found = readdirSync(dir, { encoding: 'buffer' }).map((file) => file.toString('latin1'))
      assert.deepEqual(found.sort(), names.sort())
      for (const file of names) {
        const { answers, status } = run(shell, dir, readCommand, Buffer.from(words(file)))
        assert.deepEqual({ answers, status }, { answers: `${NONCE} ready 7\narchive`, status: 0 }, JSON.stringify(file))
      }
    })

    test('refuses a file that exists, unless it is forced', (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      writeFileSync(join(dir, 'vm.vma'), 'old')
      symlinkSync('nowhere', join(dir, 'link'))
      assert.equal(write(dir, 'vm.vma', `new${NONCE}`).answers, `${NONCE} exists\n`)
      assert.equal(write(dir, 'link', `new${NONCE}`).answers, `${NONCE} exists\n`)
      assert.equal(readFileSync(join(dir, 'vm.vma'), 'utf8'), 'old')
      assert.equal(write(dir, 'vm.vma', `new${NONCE}`, true).status, 0)
      assert.equal(readFileSync(join(dir, 'vm.vma'), 'utf8'), 'new')
      assert.deepEqual(readdirSync(dir).sort(), ['link', 'vm.vma'])
    })

    test('refuses folders, missing folders and folders that cannot be written', (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(join(dir, 'sub'), { recursive: true })
      assert.equal(write(dir, 'sub', NONCE).answers, `${NONCE} folder\n`)
      assert.equal(write(dir, 'no/vm.vma', NONCE).answers, `${NONCE} nofolder\n`)
      assert.equal(run(shell, dir, readCommand, Buffer.from(words('sub'))).answers, `${NONCE} folder\n`)
      const proc = words('vm.vma').replaceAll(/\.\/\.[tu]\.partial/g, '/proc/.t.partial')
      const { answers, status } = run(shell, dir, writeCommand, Buffer.from(proc))
      assert.deepEqual({ answers, status }, { answers: `${NONCE} create\n`, status: 3 })
    })

    test('never writes through a name that is there already', (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      for (const name of ['.t.partial', '.u.partial']) symlinkSync(join(dir, 'victim'), join(dir, name))
      assert.equal(write(dir, 'vm.vma', NONCE).answers, `${NONCE} create\n`)
      assert.deepEqual(readdirSync(dir).sort(), ['.t.partial', '.u.partial'])
    })

    // Debian's busybox has neither; that of Alpine has both.
    const clears = shell[0] !== 'busybox' || (hasApplet('flock') && hasApplet('cksum'))

    test('removes what dead runs have left, whatever it was to become, and nothing else', (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      const dead = ['vm.vma', 'other name', '-x', 'caf\xe9'].map((file) => left(dir, file, SHARED))
      const links = partialName(Buffer.from('linked'), SHARED).toString()
      symlinkSync('nowhere', join(dir, links))
      const ours = left(dir, 'else', SHARED)
      renameSync(join(dir, ours), join(dir, ours.replace('else', 'alike')))
      const unlocked = left(dir, 'vm.vma', UNLOCKED)
      writeFileSync(join(dir, '.vm.vma.x-1.partial'), '')
      const before = readdirSync(dir, { encoding: 'latin1' })
      const { answers, status } = write(dir, 'vm.vma', NONCE)
      assert.equal(status, 0)
      const said = answers.split('\n').filter((line) => line.includes('.partial'))
      const removed = clears ? dead : []
      const named = clears ? [unlocked] : [unlocked, dead[0]]
      const lines = [...removed.map((name) => `removed ./${name}`), ...named.map((name) => `left ./${name}`)]
      assert.deepEqual(said.sort(), lines.map((line) => `${NONCE} ${line}`).sort())
      const stays = before.filter((name) => !removed.includes(name))
      assert.deepEqual(readdirSync(dir, { encoding: 'latin1' }).sort(), [...stays, 'vm.vma'].sort())
    })

    test('leaves what another run is writing, and names it if it is for the same file', async (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      const alive = [left(dir, 'vm.vma', SHARED), left(dir, 'other', SHARED)]
      for (const name of alive) {
        const file = await open(join(dir, name), 'r+')
        t.after(() => file.close())
        assert.equal(await lockFile(file), 'held')
      }
      assert.equal(
        write(dir, 'vm.vma', NONCE).answers,
        `${NONCE} ${clears ? 'busy' : 'left'} ./${alive[0]}\n${NONCE} ready\n${NONCE} done\n`,
      )
      assert.deepEqual(readdirSync(dir).sort(), [...alive, 'vm.vma'].sort())
    })

    test('what was put in the place of the file meanwhile does not get its name, and stays', async (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      const child = spawn(shell[0], [...shell.slice(1), '-c', writeCommand], {
        cwd: dir,
        stdio: ['pipe', 'pipe', 'ignore'],
      })
      let answers = ''
      child.stdout.on('data', (data) => {
        answers += data
      })
      child.stdin.write(words('vm.vma'))
      await until(() => answers.includes('ready'), 'it is ready')
      const [temporary] = readdirSync(dir)
      writeFileSync(join(dir, 'other'), `somebody else${NONCE}`)
      renameSync(join(dir, 'other'), join(dir, temporary))
      child.stdin.end(`archive${NONCE}`)
      await once(child, 'close')
      assert.match(answers, / swapped\n$/)
      assert.deepEqual(readdirSync(dir), [temporary])
      assert.equal(readFileSync(join(dir, temporary), 'utf8'), `somebody else${NONCE}`)
    })

    test('says so when a file to read is missing', (t) => {
      const dir = join(tmpDir(t), 'd')
      mkdirSync(dir)
      const { status, stderr } = run(shell, dir, readCommand, Buffer.from(words('vm.vma')))
      assert.notEqual(status, 0)
      assert.match(stderr, /vm\.vma/)
    })
  })
}

test('the command line means nothing to the shells that may read it', () => {
  for (const line of [writeCommand, readCommand]) {
    assert.match(line, /^exec sh -c '[^'!\\\n]+'$/)
  }
})

test('it works under csh as the login shell', { ...needs('csh'), timeout: 60_000 }, (t) => {
  const dir = join(tmpDir(t), 'd')
  mkdirSync(dir)
  const { status, stderr } = run(['csh', '-f'], dir, writeCommand, Buffer.from(`${words('vm.vma')}archive${NONCE}`))
  assert.equal(status, 0, stderr)
  assert.equal(readFileSync(join(dir, 'vm.vma'), 'utf8'), 'archive')
})
