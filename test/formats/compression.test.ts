import assert from 'node:assert/strict'
import { test } from 'node:test'
import { couldBecome, recognise } from '../../src/formats/compression.ts'

const from = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex')

test('every format is told from its magic number', () => {
  assert.equal(recognise(from('564d4100 00000001')), 'vma')
  assert.equal(recognise(from('28b52ffd 04')), 'zstd')
  assert.equal(recognise(from('04224d18')), 'lz4')
  assert.equal(recognise(from('02214c18')), 'lz4-legacy')
  assert.equal(recognise(from('1f8b08')), 'gzip')
  assert.equal(recognise(from('894c5a4f000d0a1a0a')), 'lzop')
  assert.equal(recognise(from('425a6839 314159265359')), 'bzip2')
  assert.equal(recognise(from('fd377a585a00 0004')), 'xz')
  for (let digit = 0; digit < 16; digit++) assert.equal(recognise(from(`5${digit.toString(16)}2a4d18`)), 'skippable')
})

test('what is none of them is not taken for one', () => {
  for (const hex of ['', '00', '564d4145', '28b52ffe', '602a4d18', '1f', '894c5a4f000d0a1a', '504b0304']) {
    assert.equal(recognise(from(hex)), undefined, hex)
  }
})

test('a magic number that is cut short could become a format, and others could not', () => {
  for (const hex of ['', '56', '564d', '564d41', '1f', '50', '5f2a4d', '894c5a4f000d0a1a']) {
    assert.equal(couldBecome(from(hex)), true, hex)
  }
  for (const hex of ['00', '564e', '1f8b', '28b52ffd']) assert.equal(couldBecome(from(hex)), false, hex)
  assert.equal(couldBecome(from('1f'), ['zstd']), false)
})
