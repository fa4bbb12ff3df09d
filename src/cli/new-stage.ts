/** The files of a new stage: a stage that passes its bytes on and counts them, and a test that shows what a stage must keep. */

/** Both files, by name. */
export function newStageFiles(name: string): Record<string, string> {
  const identifier = name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
  return {
    [`${name}.ts`]: STAGE.replaceAll('NAME', name).replaceAll('IDENTIFIER', identifier),
    [`${name}.test.ts`]: TEST.replaceAll('NAME', name).replaceAll('IDENTIFIER', identifier),
  }
}

const STAGE = `/**
 * A stage for vmapipe. Use it in a config:
 *
 *   use: [./NAME.ts]
 *   stages:
 *     - source: { from: vm.vma.zst }
 *     - NAME: { every: 1GiB }
 *     - sink: { to: copy.vma.zst }
 */

import { byteSize, defineStage, z } from 'vmapipe'

export const IDENTIFIER = defineStage({
  name: 'NAME',
  summary: 'says how many bytes have passed',
  // What flows: bytes (of an archive), clusters (of drives) or ranges (of drives that are restored).
  input: 'bytes',
  output: 'bytes',
  options: z.strictObject({
    every: byteSize().default(1 << 30).describe('after so many bytes, such as 1GiB'),
  }),
  create({ every }, { warn }) {
    let passed = 0
    return {
      // Called for one chunk after the other. Pass each chunk on, or release it, once.
      transform(chunk, push) {
        const before = Math.floor(passed / every)
        passed += chunk.byteLength
        if (Math.floor(passed / every) > before) warn(\`\${passed} bytes so far\`)
        push(chunk)
      },
      // Called once, when all chunks have passed. Not called if the run has failed.
      flush() {
        warn(\`\${passed} bytes in all\`)
      },
      // open() and close() may be added. close() is always called, whether the run succeeds or not.
    }
  },
})
`

const TEST = `import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Chunk, definePipeline, defineStage, z } from 'vmapipe'
import { IDENTIFIER } from './NAME.ts'

const pieces = ['some ', 'bytes ', 'of an archive']

/** A source of these pieces, in memory that the budget of the pipeline accounts for. */
const pieceSource = defineStage({
  name: 'pieces',
  summary: 'gives pieces of text',
  input: 'nothing',
  output: 'bytes',
  options: z.strictObject({ of: z.array(z.string()), fails: z.boolean().default(false) }),
  create: ({ of, fails }, { budget }) =>
    (async function* () {
      for (const text of of) {
        const slab = await budget.take(Buffer.byteLength(text))
        slab.buffer.write(text)
        yield new Chunk([slab.buffer], [slab])
      }
      if (fails) throw new Error('the source is broken')
    })(),
})

/** What comes out if these pieces go in, and what the stage says. */
async function run(of: string[], { fails = false, options = {} } = {}) {
  let text = ''
  const warnings: string[] = []
  const collector = defineStage({
    name: 'collector',
    summary: 'keeps what comes',
    input: 'bytes',
    output: 'nothing',
    options: z.strictObject({}),
    create: () => ({
      write(chunk: Chunk) {
        for (const buffer of chunk.buffers) text += Buffer.from(buffer).toString()
        chunk.release()
      },
    }),
  })
  const pipeline = definePipeline([pieceSource({ of, fails }), IDENTIFIER(options), collector()])
  const { leaked } = await pipeline.run({ warn: (message) => void warnings.push(message) })
  return { text, warnings, leaked }
}

test('all bytes pass, in order, and all memory is given back', async () => {
  const { text, leaked } = await run(pieces)
  assert.equal(text, pieces.join(''))
  assert.equal(leaked, 0)
})

test('it says how many bytes have passed', async () => {
  const { warnings } = await run(pieces, { options: { every: 10 } })
  assert.deepEqual(warnings, ['11 bytes so far', '24 bytes so far', '24 bytes in all'])
})

test('an empty input is no error', async () => {
  assert.deepEqual(await run([]), { text: '', warnings: ['0 bytes in all'], leaked: 0 })
})

test('the error of another stage is the one that is told', async () => {
  await assert.rejects(run(pieces, { fails: true }), { stage: 'pieces', message: 'the source is broken' })
})

test('an option that is wrong is refused', () => {
  assert.throws(() => IDENTIFIER({ every: 'often' }), { code: 'USAGE' })
})
`
