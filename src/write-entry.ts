/**
 * Writes dist/index.js, which is what `import 'vmapipe'` loads: npm run build. It says on an old Node what is needed, before it
 * loads anything that such a Node does not know; static imports would end with a SyntaxError first.
 */

import { renameSync, writeFileSync } from 'node:fs'

const NEEDED = 24

const dist = new URL('../dist/', import.meta.url)
const api = await import('./index.ts')

renameSync(new URL('index.js', dist), new URL('api.js', dist))
writeFileSync(
  new URL('index.js', dist),
  `import { createRequire } from 'node:module'

if (Number.parseInt(process.versions.node, 10) < ${NEEDED}) {
  throw new Error(\`vmapipe: Node ${NEEDED} or newer is needed, this is \${process.versions.node}\`)
}

export const {
${Object.keys(api)
  .map((name) => `  ${name},\n`)
  .join('')}} = createRequire(import.meta.url)('./api.js')
`,
)
