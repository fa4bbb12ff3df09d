import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fileName, plainName, timeText } from '../../../src/web/host/texts.ts'
import { attachment } from '../../../src/web/server/headers.ts'

describe('names of downloads', () => {
  test('a file of a guest keeps its name in any script', () => {
    for (const name of [
      'Отчёт за май.docx',
      '議事録.txt',
      'naïve (1).pdf',
      'ملف.txt',
      'हिन्दी.md',
      'a+b@c,d_e-f.tar.gz',
    ])
      assert.equal(fileName(name), name)
    assert.match(attachment(fileName('議事録.txt')), /filename\*=UTF-8''%E8%AD%B0%E4%BA%8B%E9%8C%B2\.txt$/)
  })

  test('a hostile one leads nowhere, hides nothing, and is no option', () => {
    const names = [
      '../../etc/passwd',
      '..',
      '',
      ' ',
      '-rf',
      '.bashrc',
      'a\r\nSet-Cookie: x',
      'a"; x="b',
      'cod\u202egpj.exe',
      '\0',
      'a\\b',
      '$(id)`',
      '\ud800',
    ]
    for (const name of names) {
      const made = fileName(name)
      assert.match(made, /^[^.\s\-/\\"'`$;:\p{C}][^/\\"'`$;:\p{C}]*$/u, JSON.stringify(name))
    }
    assert.equal([...fileName('🗄ß'.repeat(300))].length <= 150, true)
    assert.equal(plainName('$(id) ü'), '_id_')
  })
})

describe('a time in a line', () => {
  test('has its zone', () => assert.equal(timeText('2026-11-29T21:40:07.123Z'), '2026-11-29 21:40 UTC'))
})
