import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePlace } from '../../../src/storage/archive/spec.ts'

const ssh = (user: string | undefined, host: string, port: number | undefined, path: string) => ({
  kind: 'ssh',
  user,
  host,
  port,
  path: Buffer.from(path, 'latin1'),
})

test('a path, standard input or output and a command are told apart', () => {
  assert.deepEqual(parsePlace('vm.vma.zst'), { kind: 'file', path: 'vm.vma.zst' })
  assert.deepEqual(parsePlace('./exec:odd'), { kind: 'file', path: './exec:odd' })
  assert.deepEqual(parsePlace('-'), { kind: 'stdio' })
  assert.deepEqual(parsePlace("exec:cat > 'a b'"), { kind: 'exec', command: "cat > 'a b'" })
})

test('an ssh URL names user, host, port and a path of any bytes', () => {
  assert.deepEqual(parsePlace('ssh://nas/srv/a b.vma'), ssh(undefined, 'nas', undefined, '/srv/a b.vma'))
  assert.deepEqual(parsePlace('ssh://me@nas:2222/x'), ssh('me', 'nas', 2222, '/x'))
  assert.deepEqual(parsePlace('ssh://[fe80::1]:22/x'), ssh(undefined, 'fe80::1', 22, '/x'))
  assert.deepEqual(parsePlace('ssh://nas/~/x'), ssh(undefined, 'nas', undefined, './x'))
  assert.deepEqual(parsePlace('ssh://nas/%ff%0a%25'), ssh(undefined, 'nas', undefined, '/\xff\n%'))
})

test('a host or user that ssh would take for an option is refused', () => {
  for (const spec of ['ssh://-oProxyCommand=x/y', 'ssh://-l@nas/y', 'ssh://%2doProxyCommand=x/y', 'ssh://a b/c']) {
    assert.throws(() => parsePlace(spec), { code: 'USAGE' }, spec)
  }
})

test('places of other tools are refused with what can be written instead', () => {
  const cases: [string, RegExp][] = [
    ['S3://bucket/vm.vma', /s3:\/\/.* small letters/],
    ['sftp://nas/vm.vma', /ssh:\/\//],
    ['rsync://nas/module/vm.vma', /ssh:\/\//],
    ['rbd://pool/image', /ssh:\/\/.*exec:/],
    ['nas:/srv/vm.vma', /ssh:\/\/nas\/srv\/vm\.vma, or \.\/nas:/],
    ['me@nas:vm.vma', /ssh:\/\/me@nas\/~\/vm\.vma/],
  ]
  for (const [spec, hint] of cases) assert.throws(() => parsePlace(spec), { code: 'USAGE', hint }, spec)
  for (const path of ['./nas:/x', '/a:b', 'dir/a:b.vma', 'vm-2026-11-28T13:05:11.vma.zst', 'a:b'])
    assert.deepEqual(parsePlace(path), { kind: 'file', path })
})

test('an object in a bucket is named by its key as it is', () => {
  assert.deepEqual(parsePlace('s3://b-1/dir/a %20+ü.vma'), { kind: 's3', bucket: 'b-1', key: 'dir/a %20+ü.vma' })
  const wrong = [
    '',
    'b',
    'bucket',
    'bucket/',
    'bucket/dir/',
    'bucket//x',
    'bucket/../x',
    'bucket/./x',
    '-bucket/x',
    'bu cket/x',
  ]
  for (const rest of [...wrong, `bucket/${'x'.repeat(1025)}`, 'user:secret@host/x']) {
    assert.throws(() => parsePlace(`s3://${rest}`), { code: 'USAGE' }, rest)
  }
  assert.throws(() => parsePlace('s3:/bucket/x'), { code: 'USAGE' })
})

test('what names no file is refused', () => {
  const specs = ['', 'dir/', 'exec:', 'exec: ', 'ssh:', 'ssh://nas', 'ssh://nas/', 'ssh://nas/dir/', 'ssh:///x', 'a\0b']
  for (const spec of [
    ...specs,
    'ssh://nas/%zz',
    'ssh://nas/%00',
    'ssh://nas:0/x',
    'ssh://nas:65536/x',
    'ssh://nas:x/y',
  ]) {
    assert.throws(() => parsePlace(spec), { code: 'USAGE' }, JSON.stringify(spec))
  }
})
