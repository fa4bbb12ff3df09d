import assert from 'node:assert/strict'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { connect, type SecureVersion } from 'node:tls'
import { VmapipeError } from '../../../src/core/errors.ts'
import { isLoopback, parseListen } from '../../../src/fleet/server/listen-address.ts'
import { FleetServer } from '../../../src/fleet/server/server.ts'
import { until } from '../../storage/archive/processes.ts'
import { makeAuthority } from '../../support/certificates.ts'
import { madeUpFleet } from '../../support/made-up-fleet.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { served } from './served.ts'

const limits = { timeout: 60_000, ...needs('openssl') }

/** The version and the name of the certificate; or the code of the error. */
function shake(port: number, ca: string, version: SecureVersion): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      ca: readFileSync(ca),
      minVersion: 'TLSv1',
      maxVersion: version,
      ciphers: 'DEFAULT@SECLEVEL=0',
    })
    socket.once('secureConnect', () => {
      resolve(`${socket.getProtocol()} ${socket.getPeerCertificate().subject.CN}`)
      socket.destroy()
    })
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? 'error'))
  })
}

describe('TLS', limits, () => {
  test('is there from 1.2 on', async (t) => {
    const authority = makeAuthority(tmpDir(t))
    const { port } = await served(t, { tls: authority.issue('one') })
    assert.equal(await shake(port, authority.ca, 'TLSv1.3'), 'TLSv1.3 one')
    assert.equal(await shake(port, authority.ca, 'TLSv1.2'), 'TLSv1.2 one')
    for (const old of ['TLSv1.1', 'TLSv1'] as const) assert.doesNotMatch(await shake(port, authority.ca, old), /one/)
  })

  test('has a new certificate when its files are replaced, and keeps the old one while they do not fit', async (t) => {
    const dir = tmpDir(t)
    const authority = makeAuthority(dir)
    const [cert, key] = [join(dir, 'cert'), join(dir, 'key')]
    const one = authority.issue('one')
    copyFileSync(one.cert, cert)
    copyFileSync(one.key, key)
    const told: string[] = []
    const inform = (line: string) => void told.push(line)
    const { port, server, warnings } = await served(t, { tls: { cert, key }, lookEvery: 20, inform })
    assert.equal(await shake(port, authority.ca, 'TLSv1.3'), 'TLSv1.3 one')
    const two = authority.issue('two')
    copyFileSync(two.cert, cert)
    await until(() => warnings.length > 0, 'a warning')
    assert.match(
      warnings[0],
      /^the certificate stays the one that it was: .*are no certificate and its key: key values mismatch/,
    )
    assert.equal(await shake(port, authority.ca, 'TLSv1.3'), 'TLSv1.3 one')
    copyFileSync(two.key, key)
    await until(() => told.length > 0, 'it is told')
    assert.equal(await shake(port, authority.ca, 'TLSv1.3'), 'TLSv1.3 two')
    assert.equal(warnings.length, 1, 'it is told once')
    copyFileSync(one.cert, cert)
    copyFileSync(one.key, key)
    await server.renewCertificate()
    assert.equal(await shake(port, authority.ca, 'TLSv1.3'), 'TLSv1.3 one')
  })

  test('is needed wherever others can connect to', () => {
    for (const listen of [
      '0.0.0.0:1',
      '[::]:1',
      '192.168.1.1:1',
      'planner.example:1',
      '128.0.0.1:1',
      '[fe80::1]:1',
      'localhost.example:1',
    ]) {
      assert.throws(
        () => new FleetServer({ fleet: madeUpFleet(), listen: parseListen(listen) }),
        (error: VmapipeError) =>
          error.code === 'USAGE' &&
          /^others can connect to .* so TLS is needed there; give --tls-cert/.test(error.text),
        listen,
      )
    }
    for (const host of ['127.0.0.1', '127.255.0.9', 'localhost', '::1', '0:0:0:0:0:0:0:1'])
      assert.ok(isLoopback(host), host)
    for (const host of ['::', '::ffff:8.8.8.8', '1::1', '::2', '']) assert.ok(!isLoopback(host), host)
    for (const text of ['', '8460', ':8460', 'a:b', '[1.2.3.4]:1', '::1:8460', 'x:70000', 'a b:1'])
      assert.throws(() => parseListen(text), /is no address to listen on/, text)
  })

  test('with files that are of no use does not start', async (t) => {
    const dir = tmpDir(t)
    const { cert, key } = makeAuthority(dir).issue('one')
    const text = join(dir, 'text')
    writeFileSync(text, 'hello')
    const cases: [cert: string, key: string, error: RegExp][] = [
      [join(dir, 'none'), key, /cannot read the certificate: no such file or directory/],
      [cert, join(dir, 'none'), /cannot read the key: no such file or directory/],
      [text, key, /are no certificate and its key/],
      [cert, text, /are no certificate and its key/],
    ]
    for (const [cert, key, error] of cases)
      await assert.rejects(
        served(t, { tls: { cert, key } }),
        (found) => found instanceof VmapipeError && found.code === 'CONFIG' && error.test(found.text),
      )
  })
})
