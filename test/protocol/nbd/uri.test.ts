import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatNbdAddress, parseNbdUri } from '../../../src/protocol/nbd/uri.ts'

const cases: [string, object][] = [
  ['nbd://example.com', { host: 'example.com', port: 10809, exportName: '' }],
  ['nbd://example.com:1234/disk', { host: 'example.com', port: 1234, exportName: 'disk' }],
  ['nbd://[::1]:1/a%20b%2Fc', { host: '::1', port: 1, exportName: 'a b/c' }],
  ['nbd://[fe80::1%25eth0]/', { host: 'fe80::1%eth0', port: 10809, exportName: '' }],
  ['nbd://host//slash', { host: 'host', port: 10809, exportName: '/slash' }],
  ['nbd+unix:///?socket=/run/s', { socketPath: '/run/s', exportName: '' }],
  ['nbd+unix:///%C3%BC?x=1&socket=/a%20b', { socketPath: '/a b', exportName: 'ü' }],
]

for (const [uri, address] of cases) {
  test(`${uri} is understood, and comes back`, () => {
    assert.deepEqual(parseNbdUri(uri), address)
    assert.deepEqual(parseNbdUri(formatNbdAddress(parseNbdUri(uri))), address)
  })
}

for (const [uri, message] of [
  ['nbds://host/', /TLS/],
  ['nbds+unix:///?socket=/s', /TLS/],
  ['nbd:///x', /no host/],
  ['nbd://host:70000/', /no such port/],
  ['nbd://host:0/', /no such port/],
  ['nbd://ho st:x/', /no host/],
  ['nbd+unix:///x', /no \?socket/],
  ['nbd+unix:///x?socket=', /no \?socket/],
  ['nbd+unix:///%zz?socket=/s', /percent-encoding/],
  ['nbd+unix:///a%00b?socket=/s', /percent-encoding/],
  ['nbd+vsock:///', /not supported/],
  ['nbd:host', /not an NBD URI/],
  [`nbd://host/${'x'.repeat(4097)}`, /4096 bytes/],
] as const) {
  test(`${uri.slice(0, 40)} is refused`, () => {
    assert.throws(() => parseNbdUri(uri), { code: 'USAGE', message })
  })
}
