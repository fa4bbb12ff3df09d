import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { shellWords } from '../../src/cli/text.ts'

test('words for a shell are what they were when the shell has read them', () => {
  const words = [
    'plain',
    '',
    'two words',
    "it's",
    '$HOME `id` "x" \\n !',
    'a\nb\x1b[2J',
    '\u202e\u2028é',
    "'\\'\n",
    '*',
    '~',
  ]
  const read = execFileSync('bash', ['-c', `printf '%s\\0' ${shellWords(words)}`], { encoding: 'utf8' })
  assert.deepEqual(read.split('\0').slice(0, -1), words)
  assert.doesNotMatch(shellWords(words), /[\x00-\x1f\x7f\u202e\u2028]/)
})
