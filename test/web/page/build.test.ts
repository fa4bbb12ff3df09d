import assert from 'node:assert/strict'
import { copyFileSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { buildPage, writePage } from '../../../src/web/build-page.ts'
import { pageFiles } from '../../../src/web/page-files.ts'
import { tmpDir } from '../../support/tmp.ts'

const source = join(import.meta.dirname, '../../../src/web/page')
const sources = globSync('**/*.{ts,tsx}', { cwd: source }).map((file) => ({
  file,
  text: readFileSync(join(source, file), 'utf8'),
}))

describe('the page as it is built', () => {
  test('is less than 200 kB in all, before any compression', async () => {
    const page = await pageFiles()
    const bytes = [...page.values()].reduce((all, { body }) => all + body.length, 0)
    assert.ok(bytes < 200_000, `${bytes} bytes`)
    assert.ok(bytes > 50_000, 'the script is there')
  })

  test('names each of its files in its HTML, which has neither script nor style of its own', async () => {
    const page = await buildPage()
    const html = page.get('/index.html')!.body.toString()
    for (const path of page.keys()) if (path !== '/index.html') assert.ok(html.includes(`"${path}"`), path)
    const named = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path)
    assert.equal(named.length, 3)
    for (const path of named) assert.ok(page.get(path)?.immutable, path)
    assert.doesNotMatch(html, /<style|style=|<script(?! type="module" src=)|\bon\w+=/)
    assert.doesNotMatch(html, /https?:/)
  })

  test('has the same name as long as its content is the same', async () => {
    const [one, two] = [await buildPage(), await buildPage()]
    assert.deepEqual([...one.keys()], [...two.keys()])
  })

  test('is written as files for the package', async (t) => {
    const target = tmpDir(t)
    await writePage(target)
    for (const [path, { body }] of await buildPage()) assert.deepEqual(readFileSync(join(target, path)), body)
  })

  test('is read from these files by the package, with the same types and names', async (t) => {
    const target = tmpDir(t)
    await writePage(join(target, 'page'))
    const web = join(import.meta.dirname, '../../../src/web')
    for (const file of ['page-files.ts', 'page-types.ts']) copyFileSync(join(web, file), join(target, file))
    const { pageFiles: ofPackage } = (await import(join(target, 'page-files.ts'))) as { pageFiles: typeof pageFiles }
    const sorted = (page: Awaited<ReturnType<typeof pageFiles>>) =>
      [...page]
        .map(([path, { immutable, ...file }]) => ({ path, immutable: !!immutable, ...file }))
        .sort((a, b) => (a.path < b.path ? -1 : 1))
    assert.deepEqual(sorted(await ofPackage()), sorted(await buildPage()))
  })

  test('shows every value as text: nothing in its source makes markup of text, or runs it', () => {
    assert.ok(sources.length > 40)
    for (const { file, text } of sources) {
      assert.doesNotMatch(text, /dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|document\.write/, file)
      assert.doesNotMatch(text, /\beval\(|new Function|setAttribute\(|DOMParser|createContextualFragment/, file)
    }
  })

  test('asks nobody but its own server: its source names no other address', () => {
    for (const { file, text } of sources) assert.doesNotMatch(text, /https?:\/\/|wss?:\/\//, file)
  })

  test('has files small enough to be read', () => {
    const large = sources.filter(({ text }) => text.split('\n').length > 330).map(({ file }) => file)
    assert.deepEqual(large, [])
  })
})
