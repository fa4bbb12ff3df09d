import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { QmpClient, qmpErrorClass } from '../../../src/protocol/qmp/client.ts'
import { putFakeVirsh, putLibvirt, putVirsh } from '../../support/fake-virsh.ts'
import { startStorageDaemon } from '../../support/qemu.ts'
import { needs } from '../../support/tools.ts'

const timeout = 60_000

const VERSION = `say(JSON.stringify({ return: { qemu: { major: 7, minor: 2, micro: 0 }, package: '' } }) + '\\n')`

describe('QMP by way of virsh', () => {
  test('runs commands in order, by one virsh, with answers and errors', {
    timeout,
    ...needs('qemu-storage-daemon'),
  }, async (t) => {
    const { qmp } = await startStorageDaemon(t)
    const runs = putLibvirt(t, qmp)
    const client = await QmpClient.libvirt('vm1')
    assert.ok(client.version.major >= 7)
    const node = { driver: 'null-co', 'node-name': 'n', size: 1 << 20 }
    const [added, nodes] = await Promise.all([
      client.execute('blockdev-add', node),
      client.execute<any>('query-named-block-nodes', { flat: true }),
    ])
    assert.deepEqual(added, {})
    assert.equal(nodes[0]['node-name'], 'n')
    const error = await client.execute<any>('blockdev-del', { 'node-name': 'none' }).catch((reason) => reason)
    assert.match(error.line, /^QEMU refuses blockdev-del: /)
    assert.equal(qmpErrorClass(error), 'GenericError')
    client.close()
    assert.equal(await client.closed, null)
    assert.deepEqual(runs().slice(0, 3), [
      'start -q',
      'qemu-monitor-command --domain=vm1 --cmd={"execute":"query-version"}',
      `qemu-monitor-command --domain=vm1 --cmd=${JSON.stringify({ execute: 'blockdev-add', arguments: node })}`,
    ])
  })

  test('says at once that events do not come this way', { timeout, ...needs('qemu-storage-daemon') }, async (t) => {
    const { qmp } = await startStorageDaemon(t)
    putLibvirt(t, qmp)
    const client = await QmpClient.libvirt('vm1')
    assert.equal(client.watching, 'asked')
    void client.waitFor('STOP')
    await assert.rejects(client.waitFor('GUEST_PANICKED'), /vm1: GUEST_PANICKED cannot be seen this way/)
    client.close()
  })

  test('says what virsh says, where there is no such domain', { timeout }, async (t) => {
    putLibvirt(t, '/nowhere')
    await assert.rejects(QmpClient.libvirt('-vm2'), {
      code: 'FAILED',
      message: "libvirt domain -vm2: virsh: failed to get domain '-vm2'",
    })
  })

  test('says that virsh is missing', { timeout }, async (t) => {
    const dir = putVirsh(t, '')
    for (const name of ['sh', 'cat']) symlinkSync(`/bin/${name}`, join(dir, name))
    rmSync(join(dir, 'virsh'))
    process.env.PATH = dir
    for (const domain of ['vm1', 'vmü'])
      await assert.rejects(QmpClient.libvirt(domain), { message: /virsh is not installed/, hint: /libvirt-clients/ })
  })

  test('a virsh that prints something else, or hangs, is an error', { timeout }, async (t) => {
    putVirsh(t, '#!/bin/sh\necho Welcome\n')
    await assert.rejects(QmpClient.libvirt('vm1'), /virsh has ended with exit code 0, after it had printed 'Welcome'/)
    putFakeVirsh(t, `say('Welcome\\n')`)
    await assert.rejects(QmpClient.libvirt('vm1'), /'Welcome' is not JSON/)
    putVirsh(t, '#!/bin/sh\nexec sleep 60\n')
    await assert.rejects(QmpClient.libvirt('vm1', { timeout: 200 }), /no answer to query-version within 0\.2 s/)
  })

  test('the time limit of a command counts from when virsh has it, not from when it was queued', {
    timeout,
  }, async (t) => {
    putFakeVirsh(t, `await sleep(80); ${VERSION}`)
    const client = await QmpClient.libvirt('vm1')
    const begun = performance.now()
    const answers = Array.from({ length: 30 }, () => client.execute('query-version', undefined, { timeout: 2000 }))
    await Promise.all(answers)
    assert.ok(performance.now() - begun > 2000, 'all of them together took longer than the limit of one')
    client.close()
  })

  test('a virsh that ends costs the command that it was at; another one runs those behind it', {
    timeout,
  }, async (t) => {
    const runs = putFakeVirsh(t, `if (command.execute === 'die') process.kill(process.pid, 'SIGKILL')\n${VERSION}`)
    const client = await QmpClient.libvirt('vm1')
    const names = ['stop', 'die', 'query-kvm', 'cont']
    const results = await Promise.allSettled(names.map((name) => client.execute(name)))
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    )
    assert.match(
      String((results[1] as PromiseRejectedResult).reason),
      /libvirt domain vm1: virsh has ended by signal 9/,
    )
    const commands = runs().map((line) => /"execute":"(.*)"/.exec(line)?.[1] ?? line)
    assert.deepEqual(commands, ['start -q', 'query-version', 'stop', 'die', 'start -q', 'query-kvm', 'cont'])
    client.close()
  })

  test('a virsh that hangs is killed when the time limit is over; the guest still gets its cont', {
    timeout,
  }, async (t) => {
    const runs = putFakeVirsh(t, `if (command.execute === 'hang') await sleep(60_000)\n${VERSION}`)
    const client = await QmpClient.libvirt('vm1')
    const hanging = client.execute('hang', undefined, { timeout: 200 })
    const resumed = client.execute('cont')
    await assert.rejects(hanging, /no answer to hang within 0\.2 s/)
    await resumed
    assert.equal(runs().filter((line) => line.startsWith('start')).length, 2)
    client.close()
  })

  test('a virsh that ends again and again is the end, and says why', { timeout }, async (t) => {
    putFakeVirsh(t, `if (starts() > 1 || command.execute === 'die') process.exit(3)\n${VERSION}`)
    const client = await QmpClient.libvirt('vm1')
    const results = await Promise.allSettled(['die', 'stop', 'cont'].map((name) => client.execute(name)))
    assert.ok(results.every(({ status }) => status === 'rejected'))
    assert.match(String(await client.closed), /virsh has ended with exit code 3/)
  })

  test('commands that were sent are run even if vmapipe is killed', { timeout }, async (t) => {
    const runs = putFakeVirsh(t, `await sleep(20); ${VERSION}`)
    const module = new URL('../../../src/protocol/qmp/client.ts', import.meta.url).href
    const script = `import { QmpClient } from ${JSON.stringify(module)}
      const client = await QmpClient.libvirt('vm1')
      for (const name of ['stop', 'query-kvm', 'cont']) client.execute(name)
      setImmediate(() => process.kill(process.pid, 'SIGKILL'))`
    const { signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script])
    assert.equal(signal, 'SIGKILL')
    while (!runs().some((line) => line.includes('"cont"'))) {
      t.signal.throwIfAborted()
      await sleep(20)
    }
  })

  test('a name or a command can never be anything but a word to virsh', { timeout, ...needs('virsh') }, async (t) => {
    const { LIBVIRT_DEFAULT_URI } = process.env
    t.after(() => {
      if (LIBVIRT_DEFAULT_URI === undefined) delete process.env.LIBVIRT_DEFAULT_URI
      else process.env.LIBVIRT_DEFAULT_URI = LIBVIRT_DEFAULT_URI
    })
    // The real virsh, with a domain `test` of libvirt's own that has no monitor.
    process.env.LIBVIRT_DEFAULT_URI = 'test:///default'
    await assert.rejects(QmpClient.libvirt('test'), /virsh: .*not supported/)
    const names = [
      `'; cd /; echo '`,
      `"; quit; "`,
      '# x',
      '\\',
      `test\nquit`,
      `test\t\t`,
      'x\x7f\x08',
      'vmü',
      '-q',
      '$HOME',
      '',
    ]
    for (const name of names) {
      const error = await QmpClient.libvirt(name).catch((reason) => reason)
      assert.match(error.message, /virsh: (failed to get domain|.*argument is empty)/, JSON.stringify(name))
    }
  })

  test('a command arrives as it was meant, whatever is in it', { timeout }, async (t) => {
    const runs = putFakeVirsh(
      t,
      `say(JSON.stringify({ return: { ...command.arguments,
      qemu: { major: 7, minor: 2, micro: 0 } } }) + '\\n')`,
    )
    const client = await QmpClient.libvirt('vmü')
    const odd = { a: `'; quit; "\\`, b: 'ü\u2028\x7f\t\n\0😀', c: '{'.repeat(20_000) }
    const { qemu, ...back } = await client.execute<any>('query-version', odd)
    assert.deepEqual(back, odd)
    assert.match(runs()[1], /--domain=00000000-0000-4000-8000-000000000000 /)
    client.close()
  })
})
