/** Writes the files of a new stage, and replaces none. */

import { lstat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkStageName } from '../config/extensions.ts'
import { stages } from '../config/registry.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { newStageFiles } from './new-stage.ts'

/** Words that cannot be the name of a variable, as a stage of one word has. */
const RESERVED =
  /^(await|break|case|catch|class|const|continue|debugger|default|delete|do|else|enum|export|extends|false|finally|for|function|if|implements|import|in|instanceof|interface|let|new|null|package|private|protected|public|return|static|super|switch|test|this|throw|true|try|typeof|var|void|while|with|yield|assert|run|pieces|z)$/

/** Returns the paths of the stage and of its test. Throws USAGE for a name that cannot be, FAILED if a file exists. */
export async function writeNewStage(name: string, folder: string): Promise<string[]> {
  const wrong = checkStageName(name) ?? (RESERVED.test(name) ? 'is a word of the language or of its test' : null)
  if (wrong !== null) throw new VmapipeError('USAGE', `'${name}' ${wrong}`, { hint: 'such as my-stage' })
  if (stages.has(name))
    throw new VmapipeError('USAGE', `there is a stage '${name}' already`, { hint: 'take another name' })
  const files = Object.entries(newStageFiles(name)).map(([file, text]) => ({ path: join(folder, file), text }))
  for (const { path } of files) {
    const exists = await lstat(path).then(
      () => true,
      () => false,
    )
    if (exists)
      throw new VmapipeError('FAILED', `'${path}' exists`, { file: path, hint: 'take another name or folder' })
  }
  const written: string[] = []
  try {
    for (const { path, text } of files) {
      await writeFile(path, text, { flag: 'wx' })
      written.push(path)
    }
  } catch (error) {
    for (const path of written) await unlink(path).catch(() => {})
    throw asVmapipeError(error)
  }
  return written
}
