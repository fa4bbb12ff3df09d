import assert from 'node:assert/strict'
import { linkSync, symlinkSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { refuseOneDiskTwice } from '../../../src/storage/guard/same-disk.ts'
import { loopDevice, needsLoopDevice } from '../../support/loop-device.ts'
import { tmpDir } from '../../support/tmp.ts'

const limits = { timeout: 60_000 }
const TWICE = { code: 'USAGE', message: 'the drives a and b are one and the same disk' }

async function areOne(one: string, other: string): Promise<void> {
  const pair = [
    ['a', one],
    ['b', other],
  ] as const
  await assert.rejects(refuseOneDiskTwice(pair), TWICE, `${one} and ${other}`)
}

const areTwo = (one: string, other: string) =>
  refuseOneDiskTwice([
    ['a', one],
    ['b', other],
  ])

function files(t: TestContext) {
  const dir = tmpDir(t)
  const path = (name: string) => join(dir, name)
  for (const name of ['disk', 'other']) writeFileSync(path(name), Buffer.alloc(4096))
  symlinkSync(path('disk'), path('link'))
  linkSync(path('disk'), path('hard'))
  return path
}

test('one file by any of its names, and of any format', limits, async (t) => {
  const path = files(t)
  for (const name of ['disk', 'link', 'hard', `../${path('disk').split('/').at(-2)}/disk`]) {
    await areOne(path('disk'), path(name))
    await areOne(`raw:${path(name)}`, `qcow2:${path('disk')}`)
  }
  await areTwo(path('disk'), path('other'))
})

test('one file that is not there yet', limits, async (t) => {
  const path = files(t)
  symlinkSync(path('.'), path('folder'))
  await areOne(path('new'), `qcow2:${path('folder')}/new`)
  await areTwo(path('new'), path('newer'))
})

test('a loop device and the file behind it', { ...limits, ...needsLoopDevice }, async (t) => {
  const path = files(t)
  const device = loopDevice(t, path('disk'))
  await areOne(device, device)
  await areOne(device, path('hard'))
  await areTwo(device, path('other'))
})

test('one export of an NBD server on a socket', limits, async (t) => {
  const path = files(t)
  const server = createServer().listen(path('socket'))
  t.after(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  symlinkSync(path('socket'), path('socket2'))
  const uri = (name: string, socket: string) => `nbd+unix:///${name}?socket=${path(socket)}`
  await areOne(uri('x', 'socket'), uri('x', 'socket2'))
  await areOne(uri('x', 'socket'), uri('%78', 'socket').replace('/socket', '/%73ocket'))
  await areTwo(uri('x', 'socket'), uri('y', 'socket'))
  await areOne(uri('x', 'missing'), uri('x', 'missing'))
})

test('one export of an NBD server by any address of this machine', limits, async (t) => {
  const listen = async (host: string, port = 0) => {
    const server = createServer().listen(port, host)
    t.after(() => server.close())
    await new Promise((resolve) => server.once('listening', resolve))
    return (server.address() as AddressInfo).port
  }
  const everywhere = await listen('0.0.0.0')
  const names = ['localhost', 'LOCALHOST', '127.0.0.1', '127.0.0.2', '[::ffff:127.0.0.1]']
  for (const name of names) await areOne(`nbd://127.0.0.1:${everywhere}/x`, `nbd://${name}:${everywhere}/x`)
  // Two servers that share a port by having an address each.
  const shared = await listen('127.0.0.1')
  await listen('127.0.0.2', shared)
  await areTwo(`nbd://127.0.0.1:${shared}/x`, `nbd://127.0.0.2:${shared}/x`)
  await areOne('nbd://192.0.2.1/x', 'nbd://192.0.2.1:10809/x')
  await areTwo('nbd://192.0.2.1/x', 'nbd://192.0.2.1/y')
})
