import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { notify } from '../../../src/jobs/notify/notify.ts'
import { notifySchema } from '../../../src/jobs/notify/schema.ts'
import { until } from '../../storage/archive/processes.ts'
import { type GuardedSmtp, hasAiosmtpd, startGuardedSmtp, startOpenSmtpd } from '../../support/smtpd.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { guestReport, HOSTILE, runReport } from '../report.ts'

const openssl = needs('openssl')

describe('mail to a server with users and TLS', { skip: openssl.skip || (!hasAiosmtpd() && 'needs aiosmtpd') }, () => {
  let server: GuardedSmtp
  const hooks: (() => unknown)[] = []
  before(async () => {
    server = await startGuardedSmtp({ after: (hook) => void hooks.unshift(hook) })
  })
  after(async () => {
    for (const hook of hooks) await hook()
  })

  function secrets(t: { after(hook: () => void): void }, password = server.password) {
    const file = join(tmpDir(t), 'password')
    writeFileSync(file, `${password}\n`, { mode: 0o600 })
    return { user: server.user, 'password-file': file, ca: server.ca }
  }

  test('a password goes over STARTTLS, and nothing of a guest ends a line of the header', async (t) => {
    // A server that is no loopback address must be encrypted; that of the test is, and asks for it.
    const smtp = { host: 'localhost', port: server.starttls, ...secrets(t) }
    const report = runReport([guestReport(HOSTILE, { outcome: 'failed', reason: HOSTILE }), guestReport('db')], {
      job: HOSTILE,
    })
    const mail = { mail: ['ops@example.org', 'night@example.org'], from: 'backup@example.org', smtp }
    const told = await notify({ notify: [mail] }, 'failure', report)
    assert.deepEqual(told, [{ who: 'mail to ops@example.org, night@example.org' }])
    const messages = server.messages()
    assert.equal(messages.length, 2)
    for (const message of messages) {
      const [head] = message.split('\n\n')
      assert.doesNotMatch(head, /^bcc:/im)
      assert.match(head, /^Content-Type: text\/plain; charset=utf-8$/m)
      assert.match(head, /^Auto-Submitted: auto-generated$/im)
      assert.match(head, /^From: vmapipe <backup@example.org>$/m)
      assert.ok(!message.includes('\u001b'))
      assert.match(decoded(message), /web\\u\{d\}\\u\{a\}Bcc: all@example\.org.* failed/)
      assert.ok(!message.includes(server.password))
    }
  })

  test('TLS from the first byte works, and a server that nobody vouches for gets no password', async (t) => {
    const before = server.messages().length
    const { ca, ...password } = secrets(t)
    const smtp = { host: '127.0.0.1', port: server.encrypted, tls: 'on' as const, ...password }
    const mails = [{ ...smtp, ca }, smtp].map((smtp) => ({ mail: 'ops@example.org', smtp }))
    const [told, refused] = await notify({ notify: mails }, 'failure', runReport([]))
    assert.equal(told.problem, undefined)
    assert.match(refused.problem!, /self[- ]signed certificate/)
    assert.equal(server.messages().length, before + 1)
  })

  test('a wrong password is told, without the password', async (t) => {
    const smtp = { host: '127.0.0.1', port: server.starttls, ...secrets(t, 'wrong horse') }
    const warnings: string[] = []
    const warn = (line: string) => void warnings.push(line)
    const told = await notify({ notify: [{ mail: 'ops@example.org', smtp }] }, 'failure', runReport([]), { warn })
    assert.match(told[0].problem!, /127\.0\.0\.1: the server says: 535.*look at user and password-file/)
    assert.deepEqual(warnings, [`mail to ops@example.org failed: ${told[0].problem}`])
    assert.ok(!JSON.stringify([told, warnings]).includes('wrong horse'))
  })
})

describe('mail by OpenSMTPD', {
  skip: needs('smtpd').skip || (process.getuid?.() !== 0 && 'OpenSMTPD needs root'),
}, () => {
  let server: Awaited<ReturnType<typeof startOpenSmtpd>>
  const hooks: (() => unknown)[] = []
  before(async () => {
    server = await startOpenSmtpd({ after: (hook) => void hooks.unshift(hook) })
  })
  after(async () => {
    for (const hook of hooks) await hook()
  })

  test('it delivers what it takes, and the address that it does not take is told', async () => {
    const smtp = { host: '127.0.0.1', port: server.port }
    const mails = ['ops@example.org', 'ops@elsewhere.example'].map((mail) => ({ mail, smtp }))
    const [taken, refused] = await notify({ notify: mails }, 'failure', runReport([]))
    assert.equal(taken.problem, undefined)
    assert.match(refused.problem!, /127\.0\.0\.1: the server says: 550/)
    await until(() => server.messages().length === 1, 'the message is delivered')
  })

  test('its sendmail takes a message for a user of the machine', needs('sendmail'), async () => {
    const report = runReport([guestReport('db', { outcome: 'failed', reason: 'no space left on device' })])
    const told = await notify({ notify: [{ mail: 'root' }] }, 'failure', report)
    assert.deepEqual(told, [{ who: 'mail to root' }])
    const subject = /^Subject: vmapipe: nightly on host1: 1 of 1 guest failed$/m
    await until(() => server.messages().some((text) => subject.test(text)), 'the message is delivered')
  })
})

/** A program in the place of sendmail that keeps its arguments and its input. */
function fakeSendmail(t: { after(hook: () => void): void }, ending: string) {
  const dir = tmpDir(t)
  const sendmail = join(dir, 'sendmail')
  writeFileSync(sendmail, `#!/bin/sh\necho "$@" > ${dir}/args\ncat > ${dir}/message\n${ending}\n`)
  chmodSync(sendmail, 0o755)
  return {
    sendmail,
    args: () => readFileSync(join(dir, 'args'), 'utf8'),
    message: () => readFileSync(join(dir, 'message'), 'utf8'),
  }
}

test('sendmail gets addresses as nothing but addresses, and a whole message', async (t) => {
  const { sendmail, args, message } = fakeSendmail(t, 'exit 0')
  const report = runReport([
    guestReport('a\n.\nb', { outcome: 'failed', reason: 'connection refused' }),
    guestReport('db'),
  ])
  assert.deepEqual(await notify({ notify: [{ mail: ['root', 'ops@example.org'], sendmail }] }, 'failure', report), [
    { who: 'mail to root, ops@example.org' },
  ])
  assert.equal(args(), '-i -- root ops@example.org\n')
  assert.match(message(), /^From: vmapipe <vmapipe@.+>$/m)
  assert.match(message(), /^Subject: vmapipe: nightly on host1: 1 of 2 guests failed$/m)
  assert.match(decoded(message()), /a\\u\{a\}\.\\u\{a\}b failed: connection refused/)
})

test('a sendmail that fails says why, and one that hangs is ended with what it started', async (t) => {
  const failing = fakeSendmail(t, 'echo "queue is full" >&2; exit 75')
  const hanging = fakeSendmail(t, 'sleep 1000')
  const mails = [failing, hanging].map(({ sendmail }) => ({ mail: 'root', sendmail, timeout: 3000 }))
  const begun = performance.now()
  const [full, hung] = await notify({ notify: mails }, 'failure', runReport([]))
  assert.match(full.problem!, /ends with exit code 75: queue is full/)
  assert.match(hung.problem!, /does not end within 3 s/)
  assert.ok(performance.now() - begun < 30_000)
  const missing = await notify({ notify: [{ mail: 'root', sendmail: '/nowhere/sendmail' }] }, 'failure', runReport([]))
  assert.match(missing[0].problem!, /no such file or directory/)
})

test('a server that says nothing is given up', async (t) => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1')
  t.after(() => silent.close())
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  const mail = { mail: 'root', smtp: { host: '127.0.0.1', port }, timeout: 500 }
  const [told] = await notify({ notify: [mail] }, 'failure', runReport([]))
  assert.match(told.problem!, /127\.0\.0\.1: .*(never received|timeout)/i)
})

test('a password is not sent in the clear to another machine, and not read from a file for everybody', async (t) => {
  const file = join(tmpDir(t), 'password')
  writeFileSync(file, 'secret\n', { mode: 0o644 })
  chmodSync(file, 0o644)
  const smtp = { host: 'mail.example.org', user: 'me', 'password-file': file }
  const notifications = [
    { mail: 'root', smtp: { ...smtp, tls: 'off' as const } },
    { mail: 'root', smtp },
  ]
  const [clear, readable] = await notify({ notify: notifications }, 'failure', runReport([]))
  assert.match(clear.problem!, /a password would be sent to mail\.example\.org unencrypted/)
  assert.match(readable.problem!, /every user of this machine may read the secret.*chmod 600/)
})

test('an address that could be an option or a second header is refused by the job file', () => {
  for (const mail of ['-oQ/tmp', 'a b', 'a\r\nBcc: x', 'a,b', '<a@b>', '', 'x@example.org\u0000'])
    assert.ok(!notifySchema.safeParse([{ mail }]).success, JSON.stringify(mail))
  for (const mail of ['root', 'o.p+s@example.org', 'jürgen@example.org', ['a', 'b']])
    assert.ok(notifySchema.safeParse([{ mail }]).success, JSON.stringify(mail))
})

/** The text of a message that may be encoded as quoted-printable or Base64. */
function decoded(message: string): string {
  const [head, ...body] = message.replaceAll('\r\n', '\n').split('\n\n')
  const text = body.join('\n\n')
  const encoding = /^Content-Transfer-Encoding: (.*)$/im.exec(message)?.[1]
  if (encoding === 'base64') return Buffer.from(text, 'base64').toString()
  if (encoding !== 'quoted-printable') return `${head}\n\n${text}`
  return text
    .replaceAll('=\n', '')
    .replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
}
