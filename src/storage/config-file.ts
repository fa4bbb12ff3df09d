import { VmapipeError } from '../core/errors.ts'
import { openRaw } from './raw-reader.ts'

/** The bytes of a file that has at most `most` of them. What never ends, or never begins (a FIFO), is refused instead. */
export async function readConfigFile(path: string, most: number): Promise<Buffer> {
  const { file } = await openRaw(path, 0)
  try {
    const buffer = Buffer.alloc(most + 1)
    let length = 0
    for (let read = -1; read !== 0 && length < buffer.length; length += read) {
      read = (await file.read(buffer, length)).bytesRead
    }
    if (length > most) {
      const message = `this config file has more than the ${most} bytes that an archive holds of each`
      throw new VmapipeError('USAGE', message, { file: path })
    }
    return buffer.subarray(0, length)
  } finally {
    await file.close()
  }
}
