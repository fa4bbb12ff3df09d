/** Reads a passphrase from a file descriptor, or asks for it at the terminal. It never comes from an argument. */

import { open, read, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { ReadStream } from 'node:tty'
import { promisify } from 'node:util'
import { VmapipeError } from '../../core/errors.ts'

const LONGEST = 4096

export interface PassphraseOptions {
  /** Reads it from here; from the terminal if this is missing. */
  fd?: number
  /** Asks for it twice, as nobody could read the archive if it were misspelt. */
  isNew?: boolean
  /** What it is called; "passphrase" by default. */
  what?: string
}

/** How the passphrase is found out, once it is needed. */
export function passphraseFrom({ fd, isNew = false, what = 'passphrase' }: PassphraseOptions): () => Promise<string> {
  return fd === undefined ? () => ask(isNew, what) : () => fromFd(fd, what)
}

/** The first line. */
async function fromFd(fd: number, what: string): Promise<string> {
  const bytes = Buffer.alloc(LONGEST)
  let filled = 0
  while (filled < LONGEST && !bytes.subarray(0, filled).includes(0x0a)) {
    const { bytesRead } = await promisify(read)(fd, bytes, filled, LONGEST - filled, null).catch((error) => {
      throw new VmapipeError('USAGE', `no ${what} can be read from file descriptor ${fd}`, { cause: error })
    })
    if (bytesRead === 0) break
    filled += bytesRead
  }
  const [line] = bytes.toString('utf8', 0, filled).split('\n')
  if (line === '') throw new VmapipeError('USAGE', `file descriptor ${fd} has no ${what}`)
  return line.replace(/\r$/, '')
}

async function ask(isNew: boolean, what: string): Promise<string> {
  const fd = await promisify(open)('/dev/tty', 'r+').catch(() => {
    throw new VmapipeError('USAGE', `there is no terminal to ask for the ${what}`, {
      hint: 'give it by a file descriptor, such as --passphrase-fd 3 3< FILE',
    })
  })
  const terminal = new ReadStream(fd)
  try {
    const words = await answer(terminal, fd, `${what[0].toUpperCase()}${what.slice(1)}: `)
    if (isNew && words !== (await answer(terminal, fd, 'The same again: '))) {
      throw new VmapipeError('USAGE', `the two ${what}s are different`, { hint: 'begin again' })
    }
    return words
  } finally {
    terminal.destroy()
  }
}

/** One line from the terminal, which does not show it. */
async function answer(terminal: ReadStream, fd: number, question: string): Promise<string> {
  const nowhere = new Writable({ write: (_bytes, _encoding, done) => done() })
  const lines = createInterface({ input: terminal, output: nowhere, terminal: true })
  writeSync(fd, question)
  try {
    return await new Promise<string>((resolve, reject) => {
      const gone = () => reject(new VmapipeError('ABORTED', 'no passphrase was given'))
      lines.once('line', resolve).once('SIGINT', gone).once('close', gone)
    })
  } finally {
    lines.close()
    writeSync(fd, '\n')
  }
}
