/** A lzop stream, by way of the lzop program: the format is old, and nobody writes it any more. */

import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { discard } from '../../core/budget.ts'
import { printable, VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import { spawnTied } from '../../storage/child.ts'
import type { DecoderContext } from './decoder.ts'
import type { Inlet } from './inlet.ts'

/** What lzop says is passed on to this length. */
const MESSAGE_LIMIT = 300

export async function decodeLzop(context: DecoderContext): Promise<void> {
  const child = spawnTied('lzop', ['-dc'], { stdio: ['pipe', 'pipe', 'pipe'] })
  const exit = once(child, 'close')
  let message = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    message = (message + text).slice(0, MESSAGE_LIMIT)
  })
  try {
    const feeding = feed(context.input, child.stdin!)
    feeding.catch(() => child.kill())
    await Promise.all([feeding, passOn(context, child.stdout!), exit])
  } catch (error) {
    child.kill()
    throw startError(error)
  }
  const [status] = await exit
  if (status === 0) return
  throw new VmapipeError('DAMAGED', `lzop cannot decode the archive: ${printable(message.trim()) || `exit ${status}`}`)
}

function startError(error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException
  if (code !== 'ENOENT' || !syscall?.startsWith('spawn')) return error
  return new VmapipeError('FAILED', 'the archive is compressed with lzop, and there is no lzop program', {
    hint: 'install lzop',
    cause: error,
  })
}

/** When lzop has closed its input, its exit status tells why. */
async function feed(input: Inlet, stdin: Writable): Promise<void> {
  let closed = false
  stdin.on('error', () => {
    closed = true
  })
  for (let taken = await input.take(); taken !== null; taken = await input.take()) {
    for (const bytes of taken.buffers) {
      if (!closed) await new Promise<void>((resolve) => stdin.write(bytes, () => resolve()))
    }
    for (const lease of taken.leases) lease.release()
  }
  stdin.end()
}

async function passOn({ order, outputs }: DecoderContext, stdout: Readable): Promise<void> {
  for await (const bytes of stdout as AsyncIterable<Buffer>) {
    const lease = await outputs.charge(bytes.length, () => discard(bytes))
    await order.pass(new Chunk([bytes], [lease]))
  }
}
