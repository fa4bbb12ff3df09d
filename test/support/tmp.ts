import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

/** A new empty folder that goes away with the test. */
export function tmpDir(t: Pick<TestContext, 'after'>): string {
  const dir = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}
