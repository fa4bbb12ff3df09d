/** Decodes a stream of a rare format by that format's own program. */

import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { printable, VmapipeError } from '../core/errors.ts'
import { Chunk } from '../core/items.ts'
import { discard } from '../core/memory.ts'
import { spawnTied } from '../system/child.ts'
import type { DecoderContext } from './decoder-context.ts'

/** Characters of a program's message that are shown. */
const MESSAGE_LIMIT = 300
/** The exit status of lzop and bzip2 for mere warnings. */
const WARNED = 2

/** Gives bytes to the program. Returns false if it takes no more. */
export type Give = (bytes: Uint8Array) => Promise<boolean>

/** Runs `PROGRAM -dc` on the bytes that `feed` gives. `offset` is their place in the archive. */
export async function decodeBy(
  program: string,
  context: DecoderContext,
  offset: number,
  feed: (give: Give) => Promise<void>,
): Promise<void> {
  const child = spawnTied(program, ['-dc'], { stdio: ['pipe', 'pipe', 'pipe'] })
  const exit = once(child, 'close')
  let message = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    message = (message + text).slice(0, MESSAGE_LIMIT)
  })
  const give = giving(child.stdin!)
  // An error of the input goes before the program's own message, because it may be the reason for it. Output so far was passed on.
  let failure: unknown = null
  const feeding = feed(give)
    .catch((error) => {
      failure = error
    })
    .finally(() => child.stdin!.end())
  try {
    await Promise.all([feeding, passOn(context, child.stdout!), exit])
  } catch (error) {
    child.kill()
    throw startError(program, error)
  }
  if (failure !== null) throw failure
  const [status] = await exit
  const said = printable(message.trim()) || `exit ${status}`
  if (status === WARNED) context.warn(`${program} says: ${said}`)
  else if (status !== 0) throw new VmapipeError('DAMAGED', `${program} cannot decode the archive: ${said}`, { offset })
}

function startError(program: string, error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException
  if (code !== 'ENOENT' || !syscall?.startsWith('spawn')) return error
  return new VmapipeError('FAILED', `the archive is compressed with ${program}, and there is no ${program} program`, {
    hint: `install ${program === 'xz' ? 'xz-utils' : program}`,
    cause: error,
  })
}

/** Writes to the program. If it has closed its input, its exit status tells why. */
function giving(stdin: Writable): Give {
  let closed = false
  stdin.on('error', () => {
    closed = true
  })
  return async (bytes) => {
    if (!closed) await new Promise<void>((resolve) => stdin.write(bytes, () => resolve()))
    return !closed
  }
}

async function passOn({ order, outputs }: DecoderContext, stdout: Readable): Promise<void> {
  for await (const bytes of stdout as AsyncIterable<Buffer>) {
    const lease = await outputs.charge(bytes.length, () => discard(bytes))
    await order.pass(new Chunk([bytes], [lease]))
  }
}
