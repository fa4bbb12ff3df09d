import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A new empty folder that goes away with the test, or with the suite whose `after` is given. */
export function tmpDir(t: { after(hook: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
  // What a test has started may end after this, and still make files there.
  t.after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 }))
  return dir
}
