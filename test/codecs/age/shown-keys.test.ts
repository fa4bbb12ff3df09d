import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withoutKeyFolders } from '../../../src/codecs/age/shown-keys.ts'

test('of a file of keys only its name is shown, and no other path changes', () => {
  const files = ['/etc/vmapipe/key', '/root/my keys/a+b(1).txt', 'key.txt']
  for (const [text, shown] of [
    ["'/etc/vmapipe/key': permission denied", "'…/key': permission denied"],
    ['--identity=/etc/vmapipe/key', '--identity=…/key'],
    ['{"text":"see /etc/vmapipe/key."}', '{"text":"see …/key."}'],
    ['/root/my keys/a+b(1).txt, /etc/vmapipe/key', '…/a+b(1).txt, …/key'],
    ['/etc/vmapipe/keys /etc/vmapipe/key/web /etc/vmapipe/key.vma /srv/etc/vmapipe/key', null],
    ['key.txt is no path', null],
  ] as const)
    assert.equal(withoutKeyFolders(text, files), shown ?? text)
})
