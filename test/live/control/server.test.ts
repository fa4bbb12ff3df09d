import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { assertArchive, MiB, makeDisk } from '../images.ts'
import { curl, run } from '../programs.ts'
import { serve } from '../serving.ts'

const timeout = 240_000

describe('the control socket', () => {
  test('takes config files with a request, and the archive has them', { ...needs('curl'), timeout }, async (t) => {
    const dir = tmpDir(t)
    const [disk, archive, body] = ['disk', 'vm.vma', 'body'].map((name) => join(dir, name))
    makeDisk(disk, 2 * MiB)
    const conf = 'name: guest\nscsi0: x\n'
    const large = 'x'.repeat(65535)
    const base64 = (text: string) => Buffer.from(text).toString('base64')
    writeFileSync(body, JSON.stringify({ configs: { 'qemu-server.conf': base64(conf), 'fw.conf': base64(large) } }))
    const serving = await serve(t, { a: disk })
    const uuid = '01234567-89ab-4cde-8f01-23456789abcd'
    for (const how of [['--get', '--request', 'GET', '--data-urlencode', `uuid=${uuid}`], []]) {
      const data = how.length > 0 ? how : ['--request', 'POST']
      const withBody = how.length > 0 ? [] : ['--data-binary', `@${body}`]
      await run(t, 'curl', [...data, ...withBody, ...curl(serving.control, '/backup', archive)])
      await assertArchive(t, archive, { a: disk }, how.length > 0 ? {} : { 'qemu-server.conf': conf, 'fw.conf': large })
    }
  })

  test('refuses what makes no sense in one line, before anything begins', { timeout }, async (t) => {
    const disk = join(tmpDir(t), 'disk')
    makeDisk(disk, MiB)
    const serving = await serve(t, { a: disk })
    const configs = (files: Record<string, string>) => JSON.stringify({ configs: files })
    const x64 = (length: number) => Buffer.alloc(length).toString('base64')
    const refused: [string, string, string | undefined, number, RegExp][] = [
      ['GET', '/', undefined, 404, /there is no \//],
      ['GET', '/backup/', undefined, 404, /there is no \/backup\//],
      ['GET', '/etc/passwd?drive=a', undefined, 404, /there is no \/etc\/passwd/],
      ['DELETE', '/status', undefined, 405, /\/status does not take DELETE/],
      ['PUT', '/backup', 'x', 405, /\/backup does not take PUT/],
      ['DELETE', '/backup', undefined, 404, /no backup is running/],
      ['GET', '/backup?drive=b', undefined, 400, /there is no drive 'b'/],
      ['GET', '/backup?drive=a&drive=', undefined, 400, /there is no drive ''/],
      ['GET', '/backup?buffer=1MiB', undefined, 400, /the query, buffer: .*16/],
      ['GET', '/backup?buffer=-1', undefined, 400, /the query, buffer: /],
      ['GET', '/backup?max-stall=1', undefined, 400, /the query, max-stall: /],
      ['GET', '/backup?max-stall=soon', undefined, 400, /the query, max-stall: /],
      ['GET', '/backup?bwlimit=fast', undefined, 400, /the query, bwlimit: /],
      ['GET', '/backup?uuid=1', undefined, 400, /the query, uuid: /],
      ['GET', '/backup?level=3', undefined, 400, /the query: .*level/],
      ['POST', '/backup', 'configs', 400, /the body is no JSON/],
      ['POST', '/backup', '[]', 400, /the body: /],
      ['POST', '/backup', '{"config":{}}', 400, /the body: .*config/],
      ['POST', '/backup', configs({ x: '#' }), 400, /the body, configs.x: /],
      ['POST', '/backup', configs({ '../x': 'eA==' }), 400, /config name '..\/x' has a slash/],
      ['POST', '/backup', configs({ x: x64(65536) }), 400, /config file 'x' has 65536 bytes/],
      ['POST', '/backup', 'x'.repeat(2 * MiB), 400, /the body is larger than/],
      [
        'POST',
        '/backup',
        configs(Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`c${n}`, x64(65000)]))),
        400,
        /make a header of \d+ bytes, at most 524288/,
      ],
    ]
    for (const [method, path, body, code, error] of refused) {
      const answer = await serving.json(method, path, body)
      assert.equal(answer.code, code, `${method} ${path}: ${JSON.stringify(answer.body)}`)
      assert.match(answer.body.error, error)
      assert.doesNotMatch(answer.body.error, /\n/)
    }
    assert.equal((await serving.json('PUT', '/backup')).headers.allow, 'GET, POST, PATCH, DELETE')
    const { backup, last } = await serving.status()
    assert.deepEqual([backup, last], [null, null])
    assert.equal(await serving.stop(), 0)
  })

  test('gives no archive to HTTP/1.0, where one cut short looks whole', { ...needs('curl'), timeout }, async (t) => {
    const disk = join(tmpDir(t), 'disk')
    makeDisk(disk, MiB)
    const serving = await serve(t, { a: disk })
    const args = ['--http1.0', '--silent', '--unix-socket', serving.control, 'http://guest/backup']
    assert.match(await run(t, 'curl', args), /takes HTTP\/1\.1/)
  })

  test('refuses a second backup, and ends the first when it is told to', { timeout }, async (t) => {
    const disk = join(tmpDir(t), 'disk')
    makeDisk(disk, 16 * MiB)
    const serving = await serve(t, { a: disk })
    const first = await serving.ask('GET', '/backup?bwlimit=1MiB/s')
    const second = await serving.json('GET', '/backup')
    assert.equal(second.code, 409)
    assert.match(second.body.error, /a backup is running already/)
    assert.ok((await serving.status()).backup !== null, 'the first goes on')
    const [cut, deleted] = await Promise.all([
      first.toArray().catch((error) => error),
      serving.json('DELETE', '/backup'),
    ])
    assert.equal(deleted.code, 204)
    assert.equal(cut.code, 'ECONNRESET', 'nobody takes what was sent for whole')
    const { complete, error } = await serving.ended()
    assert.deepEqual([complete, error], [false, 'aborted by request'])
    const third = await serving.ask('GET', '/backup')
    await assertArchive(t, Buffer.concat(await third.toArray()), { a: disk })
  })

  test('tells people and programs how it is going', { ...needs('qemu-io'), timeout }, async (t) => {
    const disk = join(tmpDir(t), 'disk')
    makeDisk(disk, 64 * MiB)
    const serving = await serve(t, { a: disk }, ['--max-stall', '5s', '--buffer', '20MiB'])
    const idle = await serving.status()
    assert.equal(idle.pid, serving.child.pid)
    const tracked = { archives: [], reason: 'the service does not track changes: it was started without --track' }
    assert.deepEqual(idle.drives, [{ name: 'a', size: 64 * MiB, readOnly: false, tracked }])
    assert.deepEqual([idle.backup, idle.last, idle.nbd.connections], [null, null, 0])
    const response = await serving.ask('GET', '/backup?bwlimit=4MiB/s')
    // Far from the scan, each into a cluster of its own: one read and two writes each.
    const writes = Array.from({ length: 20 }, (_, n) => ['-c', `write -P 1 ${(1023 - 2 * n) * 64}k 4k`])
    await run(t, 'qemu-io', ['-f', 'raw', serving.uri('a'), ...writes.flat()])
    const { backup, nbd } = await serving.status()
    assert.equal(backup!.clusters.total, 1024)
    assert.equal(backup!.clusters.copied, 20)
    assert.deepEqual(backup!.copies, { reads: 20, archived: 20, requests: 20 })
    assert.equal(backup!.waiting.count, 20)
    assert.ok(backup!.waiting.p50 > 0 && backup!.waiting.p50 <= backup!.waiting.max)
    assert.equal(backup!.buffer.size, 20 * MiB)
    assert.ok(Math.abs(backup!.since - Date.now() / 1000) < 20)
    assert.equal(nbd.writes, 20)
    assert.equal(nbd.bytesWritten, 20 * 4096)
    const figures = parseMetrics((await (await serving.ask('GET', '/metrics')).toArray()).join(''))
    assert.equal(figures.get('vmapipe_backup_running'), 1)
    assert.equal(figures.get('vmapipe_backup_clusters'), 1024)
    assert.equal(figures.get('vmapipe_backup_clusters_copied'), 20)
    assert.equal(figures.get('vmapipe_nbd_writes_total'), 20)
    assert.equal(figures.get('vmapipe_drive_bytes{drive="a"}'), 64 * MiB)
    response.destroy()
    const { error, status } = await serving.ended()
    assert.match(error!, /the reader of the (archive|stream)/)
    assert.equal(status.waiting.now, 0)
    assert.equal(await serving.stop(), 0)
  })
})

/** Every line of the text format by its name and labels; fails where one is none, or comes without HELP and TYPE. */
function parseMetrics(text: string): Map<string, number> {
  const figures = new Map<string, number>()
  const described = new Map<string, number>()
  for (const line of text.split('\n').filter((line) => line !== '')) {
    const [, comment] = /^# (?:HELP|TYPE) (\w+) .+$/.exec(line) ?? []
    if (comment !== undefined) {
      described.set(comment, (described.get(comment) ?? 0) + 1)
      continue
    }
    const [, name, labels = '', value] = /^(\w+)(\{\w+="[^"]*"\})? (\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(line) ?? []
    assert.ok(name !== undefined, `not a line of metrics: ${line}`)
    assert.equal(described.get(name), 2, `${name} has a HELP and a TYPE`)
    figures.set(name + labels, Number(value))
  }
  return figures
}
