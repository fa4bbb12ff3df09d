import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { allCommands, type CommandDescription, describeCommand } from '../../../src/cli/describe-commands.ts'
import { manPage, pageName } from '../../../src/cli/man/man-page.ts'
import { makeProgram } from '../../../src/cli/program.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'

const edition = { version: '1.2.3', date: '2026-11-29' }
const limits = { timeout: 120_000 }

async function pages(): Promise<[CommandDescription, string][]> {
  const program = describeCommand(await makeProgram(['node', 'vmapipe']))
  return allCommands(program).map((one) => [one, manPage(one, program, edition)])
}

test('mandoc and man have nothing to say against any page', { ...limits, ...needs('mandoc', 'man') }, async (t) => {
  const dir = tmpDir(t)
  const files = (await pages()).map(([command, text]) => {
    const file = join(dir, `${pageName(command)}.1`)
    writeFileSync(file, text)
    return file
  })
  assert.ok(files.length > 30)
  const lint = spawnSync('mandoc', ['-Tlint', '-Wwarning', ...files], { encoding: 'utf8' })
  assert.equal(lint.stdout, '')
  for (const file of files.slice(0, 5)) {
    const { status, stderr } = spawnSync('man', ['--warnings', '-l', file], {
      encoding: 'utf8',
      env: { ...process.env, MANPAGER: 'cat' },
    })
    assert.deepEqual([status, stderr], [0, ''])
  }
})

test('a page has everything that the help has', { ...limits, ...needs('mandoc') }, async (t) => {
  const dir = tmpDir(t)
  for (const [command, text] of await pages()) {
    const file = join(dir, `${pageName(command)}.1`)
    writeFileSync(file, text)
    const shown = spawnSync('mandoc', ['-Tutf8', '-O', 'width=500', file], { encoding: 'utf8' }).stdout.replace(
      /.\u0008/g,
      '',
    )
    const words = shown.replace(/\s+/g, ' ')
    assert.ok(words.includes(command.summary.replace(/\s+/g, ' ')), pageName(command))
    for (const { long, short } of command.options)
      assert.ok(words.includes(long ?? short!), `${pageName(command)} ${long}`)
    for (const line of command.after.split('\n').filter((one) => one.startsWith('  ')))
      assert.ok(words.includes(line.trim().replace(/\s+/g, ' ')), `${pageName(command)}: ${line}`)
  }
})

test('text is text: a line that begins like a request, and backslashes', async () => {
  const [[program]] = await pages()
  const odd = {
    ...program,
    path: ['odd'],
    summary: "it's \\fB.so /etc/passwd",
    description: ".so /etc/shadow\n\n'x -- \\*[y] ü",
    commands: [],
    options: [],
  }
  const text = manPage(odd, program, edition)
  assert.match(text, /^\\&\.so \/etc\/shadow$/m)
  assert.match(text, /^\\\(aqx \\-\\- \\e\*\[y\] \\\[u00FC\]$/m)
  assert.ok(!/^\.so/m.test(text))
})

test('package.json names every page, as npm install --global puts only those where man finds them', async () => {
  const { man } = JSON.parse(readFileSync(join(import.meta.dirname, '../../../package.json'), 'utf8'))
  const names = (await pages()).map(([command]) => `dist/man/${pageName(command)}.1`)
  assert.deepEqual([...man].sort(), names.sort(), 'add the page of a new command to "man" in package.json')
})
