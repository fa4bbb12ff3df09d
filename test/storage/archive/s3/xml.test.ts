import assert from 'node:assert/strict'
import { test } from 'node:test'
import { escapeXml, parseXml, textOf } from '../../../../src/storage/archive/s3/xml.ts'

test('documents as stores write them', () => {
  const document = `<?xml version="1.0" encoding="UTF-8"?>
<List xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><!-- none -->
  <Key>a&amp;b &lt;&#233;&#x1F600;&gt;</Key><Empty/><Owner><ID>x</ID></Owner></List>`
  const root = parseXml(document)!
  assert.equal(root.name, 'List')
  assert.equal(textOf(root, 'Key'), 'a&b <é😀>')
  assert.equal(textOf(root, 'Empty'), '')
  assert.equal(textOf(root, 'Missing'), '')
})

test('what is written is read back', () => {
  const text = `a<b>&"c"'d'`
  assert.equal(parseXml(`<x>${escapeXml(text)}</x>`)!.text, text)
})

test('anything else is refused, in no time', () => {
  const begun = performance.now()
  for (const document of [
    '',
    'text',
    '<a>',
    '</a>',
    '<a></b>',
    '<a></a><b></b>',
    '<a',
    '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    '<![CDATA[x]]>',
    '<a>'.repeat(100_000),
    '<'.repeat(1_000_000),
    `<a ${'b="c" '.repeat(100_000)}`,
    `<a ${' '.repeat(200_000)}`,
    `<!--${'-'.repeat(500_000)}`,
  ]) {
    assert.equal(parseXml(document), null, document.slice(0, 40))
  }
  assert.ok(performance.now() - begun < 5000)
  assert.equal(parseXml('<a>&unknown; &#9999999;</a>')!.text, '&unknown; &#9999999;')
})
